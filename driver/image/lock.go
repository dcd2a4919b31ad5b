package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockRetry is how often a maker looks whether a sweep is over. flock(2) cannot
// be waited for and cancelled at once.
const lockRetry = 10 * time.Millisecond

// making holds off sweeps of all processes while something that no record
// names yet is being made: a pull's layers and temporary files, a container's
// layer. The kernel lets go of it when the process dies.
func (s *Store) making(ctx context.Context) (done func(), err error) {
	lock, err := s.makingLock(ctx)
	if err != nil {
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

// makingLock is making's lock. Whoever inherits it holds it too.
func (s *Store) makingLock(ctx context.Context) (*os.File, error) {
	for {
		lock, err := s.flock(unix.LOCK_SH)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}

// alone is the other side of making. It does not wait: it wraps EWOULDBLOCK
// while anybody is making something.
func (s *Store) alone() (done func(), err error) {
	lock, err := s.flock(unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

// flock locks the file. Closing the last descriptor of its description, here or
// in a process that inherited it, releases the lock.
func (s *Store) flock(how int) (*os.File, error) {
	path := filepath.Join(s.cfg.Root, "create.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

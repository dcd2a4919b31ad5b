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

// lockRetry is the interval between attempts to take the create lock during a sweep: a blocking
// flock(2) cannot be cancelled.
const lockRetry = 10 * time.Millisecond

// sharedLock takes the create lock shared. It prevents sweeps by any process while files without a
// record exist, such as a pull's layers and temporary files or a container's layer. The kernel
// releases the lock when the process dies.
func (s *Store) sharedLock(ctx context.Context) (done func(), err error) {
	lock, err := s.sharedLockFile(ctx)
	if err != nil {
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

// sharedLockFile takes the same lock and returns its file. A process that inherits the file also
// holds the lock.
func (s *Store) sharedLockFile(ctx context.Context) (*os.File, error) {
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

// exclusiveLock takes the create lock exclusively. It does not wait: it returns an error that wraps
// EWOULDBLOCK while any process creates something.
func (s *Store) exclusiveLock() (done func(), err error) {
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

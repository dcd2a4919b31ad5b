package process

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Handle holds one process by a pidfd. It must be closed. Its methods are safe for
// concurrent use, and return an error after Close.
type Handle struct {
	id Identity
	fd *os.File
}

// Open opens a handle for the process with that identity. The error is ErrGone if it has
// ended.
func Open(id Identity) (*Handle, error) {
	if id.PID <= 0 {
		return nil, ErrGone
	}
	// Non-blocking, so that Go's poller waits for the descriptor instead of a thread.
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("process %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd of process %d: %w", id.PID, err)
	}
	// The PID may have been reused before the descriptor was opened. From now on /proc
	// shows the process that is held.
	if !id.Alive() {
		return nil, errors.Join(fmt.Errorf("process %d: %w", id.PID, ErrGone), unix.Close(fd))
	}
	return &Handle{id: id, fd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Identity returns the identity that the handle was opened with.
func (h *Handle) Identity() Identity { return h.id }

// Signal sends a signal to the process. The error is ErrGone if it has ended.
func (h *Handle) Signal(sig unix.Signal) error {
	err := h.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", h.id.PID, ErrGone)
	}
	if err != nil {
		return fmt.Errorf("signal %s to process %d: %w", unix.SignalName(sig), h.id.PID, err)
	}
	return nil
}

// Wait returns nil when the process has ended, and an error that is
// os.ErrDeadlineExceeded after Interrupt.
func (h *Handle) Wait() error {
	rc, err := h.fd.SyscallConn()
	if err != nil {
		return err
	}
	// A pidfd is readable once the process has ended. There is nothing to read, so RawConn
	// is used to wait.
	var perr error
	err = rc.Read(func(fd uintptr) bool {
		var ended bool
		ended, perr = readable(int(fd))
		return ended || perr != nil
	})
	return errors.Join(err, perr)
}

// Interrupt makes every current and future Wait return.
func (h *Handle) Interrupt() error { return h.fd.SetReadDeadline(time.Unix(1, 0)) }

// Close releases the descriptor.
func (h *Handle) Close() error { return h.fd.Close() }

func (h *Handle) control(f func(fd int) error) error {
	rc, err := h.fd.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func readable(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0 && fds[0].Revents&(unix.POLLIN|unix.POLLHUP) != 0, err
}

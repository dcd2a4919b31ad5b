package namespace

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// InNetwork runs f on a thread that is in the network namespace at path.
// Sockets that f itself makes belong there; those of goroutines that it starts
// do not.
func InNetwork(path string, f func() error) error {
	return onSpareThread(func() error {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", path, err)
		}
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		_ = unix.Close(fd) // nothing was written
		if err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return f()
	})
}

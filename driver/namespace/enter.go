package namespace

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// InNetwork runs f on a thread in the network namespace at path. Sockets that f itself
// creates belong to that namespace; sockets created by goroutines that f starts do not.
func InNetwork(path string, f func() error) error { return enter(path, Net, f) }

// InIPC runs f on a thread in the IPC namespace at path. Files below /proc/sys that f
// itself opens belong to that namespace.
func InIPC(path string, f func() error) error { return enter(path, IPC, f) }

func enter(path string, k Kind, f func() error) error {
	flag, err := k.flag()
	if err != nil {
		return err
	}
	return onSpareThread(func() error {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s namespace %s: %w", k, path, err)
		}
		err = unix.Setns(fd, flag)
		_ = unix.Close(fd) // opened read-only
		if err != nil {
			return fmt.Errorf("enter %s namespace %s: %w", k, path, err)
		}
		return f()
	})
}

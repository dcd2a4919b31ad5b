package namespace

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// VisitNetwork runs f in the network namespace at path, on the current thread, which then returns
// to its own namespace. It costs a tenth of InNetwork. f must not block.
func VisitNetwork(path string, f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() { // /proc/self would show the other namespace
		runtime.UnlockOSThread()
		return InNetwork(path, f)
	}
	defer runtime.UnlockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the thread's own network namespace: %w", err)
	}
	defer unix.Close(home) // opened read-only
	err = enterHere(path, unix.CLONE_NEWNET, f)
	for unix.Setns(home, unix.CLONE_NEWNET) != nil { // out of memory; nothing may run here until then
		time.Sleep(time.Millisecond)
	}
	return err
}

// enterHere runs f in a namespace that the current thread enters.
func enterHere(path string, flag int, f func() error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	err = unix.Setns(fd, flag)
	_ = unix.Close(fd) // opened read-only
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	return f()
}

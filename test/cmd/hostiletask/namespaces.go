package main

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

type namespaceKind struct {
	file string // below /proc/PID/ns
	flag int
}

func namespaceKinds() []namespaceKind {
	return []namespaceKind{
		{"mnt", unix.CLONE_NEWNS}, {"user", unix.CLONE_NEWUSER}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID},
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP}, {"time", unix.CLONE_NEWTIME},
	}
}

// namespaces returns the attempts to create or enter namespaces.
func namespaces() []attempt {
	var all []attempt
	for _, k := range namespaceKinds() {
		all = append(all, attempt{"namespace/unshare/" + k.file, func(o options) error {
			return child(o, &syscall.SysProcAttr{Unshareflags: uintptr(k.flag)})
		}})
		if k.flag == unix.CLONE_NEWTIME {
			continue // the bit is part of the signal number in clone(2)
		}
		all = append(all, attempt{"namespace/clone/" + k.file, func(o options) error {
			return child(o, &syscall.SysProcAttr{Cloneflags: uintptr(k.flag)})
		}})
	}
	return append(all,
		// The kernel refuses a size of zero after the seccomp filter.
		with("namespace/clone3", unix.SYS_CLONE3, []uintptr{0, 0}, unix.EINVAL),
		attempt{"namespace/enter_own", func(options) error { return enterOwn() }})
}

func child(o options, attr *syscall.SysProcAttr) error {
	cmd := exec.Command(o.self, "-role", "true")
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return err
	}
	// In some namespaces Go's threads cannot start, but the namespace was created.
	_ = cmd.Wait()
	return nil
}

func enterOwn() error {
	var tries []func() error
	for _, k := range namespaceKinds() {
		tries = append(tries, func() error {
			fd, err := unix.Open("/proc/self/ns/"+k.file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return onThread(func() error { return unix.Setns(fd, k.flag) })
		})
	}
	return anyOf(tries...)
}

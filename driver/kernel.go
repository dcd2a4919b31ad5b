package driver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelNeeded is the first Linux version with every call of kernelCalls.
const kernelNeeded = "5.12"

// kernelCall is a system call that the driver or an OCI runtime requires.
// Distributions backport calls and sandboxes block them, so the kernel version
// proves nothing.
type kernelCall struct {
	name, purpose string
	try           func() error // without side effects
}

func kernelCalls() []kernelCall {
	withPidfd := func(flags int, use func(fd int) error) func() error {
		return func() error {
			fd, err := unix.PidfdOpen(os.Getpid(), flags)
			if err != nil {
				return err
			}
			return errors.Join(use(fd), unix.Close(fd))
		}
	}
	return []kernelCall{
		{"pidfd_open with PIDFD_NONBLOCK", "to watch processes (Linux 5.10)", withPidfd(unix.PIDFD_NONBLOCK, func(int) error { return nil })},
		{"pidfd_send_signal", "to signal them (Linux 5.1)", withPidfd(0, func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) })},
		{"openat2", "to open files of tasks (Linux 5.6)", func() error {
			fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{"mount_setattr", "for recursive read-only mounts (Linux 5.12)", func() error {
			return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{})
		}},
	}
}

// checkKernel tries each call and names all that fail.
func checkKernel(calls []kernelCall) error {
	var missing []string
	for _, c := range calls {
		if err := c.try(); err != nil {
			missing = append(missing, fmt.Sprintf("%s %s: %v", c.name, c.purpose, err))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var name unix.Utsname
	_ = unix.Uname(&name) // can only fail for a bad pointer
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	return fmt.Errorf("the kernel, Linux %s, lacks %s; boot Linux %s or newer, or allow these calls if the Nomad client runs in a sandbox",
		release, strings.Join(missing, ", "), kernelNeeded)
}

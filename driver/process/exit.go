package process

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoStatus means that the kernel does not report how a process ended.
var ErrNoStatus = errors.New("no exit status")

// pidfdInfo is struct pidfd_info of include/uapi/linux/pidfd.h, in its first
// published size.
type pidfdInfo struct {
	mask                                             uint64
	cgroupID                                         uint64
	pid, tgid, ppid                                  uint32
	ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
	exitCode                                         int32
}

const (
	// pidfdGetInfo is _IOWR(0xFF, 11, struct pidfd_info), pidfd.h.
	pidfdGetInfo = 3<<30 | unsafe.Sizeof(pidfdInfo{})<<16 | 0xff<<8 | 11
	// pidfdInfoExit requests the exit status, Linux 6.15 and later.
	pidfdInfoExit = 1 << 3
)

// Status returns the exit status of a process that has ended and was waited for by its
// parent. Before Linux 6.15, or before the parent has waited, the error is ErrNoStatus.
func (h *Handle) Status() (unix.WaitStatus, error) {
	info := pidfdInfo{mask: pidfdInfoExit}
	err := h.control(func(fd int) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(pidfdGetInfo), uintptr(unsafe.Pointer(&info)))
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil || info.mask&pidfdInfoExit == 0 {
		return 0, ErrNoStatus
	}
	return unix.WaitStatus(info.exitCode), nil
}

package userns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// As runs f on a thread that creates files as user and group id of the host, with all rights of the
// process. Goroutines that f starts do not.
func As(id uint32, f func() error) (err error) {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("read capabilities: %w", err)
	}
	defer func() {
		// A thread that cannot be restored stays locked and exits with its goroutine.
		if rerr := setOwner(0, &header, &caps); rerr != nil {
			err = errors.Join(err, rerr)
			return
		}
		runtime.UnlockOSThread()
	}()
	if err := setOwner(id, &header, &caps); err != nil {
		return err
	}
	return f()
}

// setOwner changes the ids of files that the thread creates. The kernel removes capabilities of a
// thread with another id (capabilities(7)).
func setOwner(id uint32, header *unix.CapUserHeader, caps *[2]unix.CapUserData) error {
	// These calls report no errors: they return the previous id.
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(id), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(id), 0, 0)
	now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(^uint32(0)), 0, 0)
	if uint32(now) != id {
		return fmt.Errorf("create files as user %d: the kernel refuses", id)
	}
	if err := unix.Capset(header, &caps[0]); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	return nil
}

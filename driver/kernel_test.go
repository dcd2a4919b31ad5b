package driver

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// The error names each system call that the kernel lacks.
func TestCheckKernel(t *testing.T) {
	must.NoError(t, checkKernel(kernelCalls()))
	for name, number := range map[string]uint32{
		"pidfd_open": unix.SYS_PIDFD_OPEN, "pidfd_send_signal": unix.SYS_PIDFD_SEND_SIGNAL,
		"openat2": unix.SYS_OPENAT2, "mount_setattr": unix.SYS_MOUNT_SETATTR,
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error)
			go func() {
				runtime.LockOSThread() // the thread and its filter end with the goroutine
				if err := denyCall(number); err != nil {
					result <- err
					return
				}
				result <- checkKernel(kernelCalls())
			}()
			err := <-result
			must.ErrorContains(t, err, "lacks "+name)
			must.ErrorContains(t, err, "function not implemented")
			must.ErrorContains(t, err, "Linux "+kernelNeeded)
		})
	}
}

// denyCall denies one system call to the calling thread.
func denyCall(number uint32) error {
	const load, jumpEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load}, // seccomp_data.nr
		{Code: jumpEqual, K: number, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

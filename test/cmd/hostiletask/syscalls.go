package main

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes a system call with up to six arguments. The kernel returns the errors in passed only
// after its permission check, so they count as success.
func call(nr uintptr, args []uintptr, passed ...unix.Errno) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 || slices.Contains(passed, errno) {
		return nil
	}
	return errno
}

// with returns an attempt that makes one system call.
func with(name string, nr uintptr, args []uintptr, passed ...unix.Errno) attempt {
	return attempt{name, func(options) error { return call(nr, args, passed...) }}
}

// text returns a C string for a system call. It is never freed: strings are few, and this process
// makes one attempt.
func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// room returns zeroed memory for a structure of a system call.
func room(size int) (uintptr, []byte) {
	b := make([]byte, size)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0])), b
}

// kept references the memory that system calls point to. Go's collector does not move it.
var kept [][]byte

// anyOf returns nil if one of the tries succeeded, or the last error.
func anyOf(tries ...func() error) error {
	err := errAbsent
	for _, try := range tries {
		if err = try(); err == nil || errors.As(err, new(reached)) {
			return err
		}
	}
	return err
}

func onThread(f func() error) error {
	runtime.LockOSThread()
	return f()
}

func minus(n int) uintptr { return ^uintptr(n - 1) }

func ignoreSignals() {
	var all []os.Signal
	for i := 1; i < 65; i++ {
		if s := unix.Signal(i); s != unix.SIGKILL && s != unix.SIGSTOP && s != unix.SIGURG {
			all = append(all, s)
		}
	}
	signal.Ignore(all...)
}

// status reads a field of a process's status file.
func status(pid, field string) string {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

package ociruntime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaperName is argv[0] of the helper process that runs a program in a container for runc.
//
// "runc exec" without --detach copies the program's output. It hangs while a background child holds
// the output open, and its pipes end before the program does. With --detach the program has the
// caller's pipes, but is a child of runc, which exits. The helper is the subreaper that waits for the
// program instead. "crun exec" hands over its own pipes and needs no helper.
const reaperName = "nomad-pod-exec"

// Reexec runs the helper if this process was started as one, and reports whether it was.
func Reexec() bool {
	if os.Args[0] != reaperName {
		return false
	}
	const minArgs = 3 // with the pid file and the runtime
	if len(os.Args) < minArgs {
		fmt.Fprintf(os.Stderr, "%s: want a pid file and a command\n", reaperName)
		os.Exit(2)
	}
	os.Exit(reap(os.Args[1], os.Args[2], os.Args[3:]...))
	return true
}

// reaper returns the command that runs a detaching runtime through the helper.
func reaper(cmd *exec.Cmd, pidFile string) {
	cmd.Args = append([]string{reaperName, pidFile}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
}

// reap runs a runtime that detaches and waits for the program in pidFile. It returns the exit code
// of the runtime if that fails, otherwise the program's: 128 and the number of the signal if one
// ended it.
func reap(pidFile, path string, args ...string) int {
	const failed = 1
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintf(os.Stderr, "%s: become a subreaper: %v\n", reaperName, err)
		return failed
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // the parent of a process is a thread
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", reaperName, err)
		return failed
	}
	// The pipes end with the last program that has them open, not with this process.
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		_ = f.Close()
	}
	pid, err := readPID(pidFile)
	if err != nil {
		return failed
	}
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return failed
		case got == pid && status.Signaled():
			return signalBase + int(status.Signal())
		case got == pid:
			return status.ExitStatus()
		}
	}
}

// signalBase is added to the number of a signal to form an exit code.
const signalBase = 128

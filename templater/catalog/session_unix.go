//go:build unix

package catalog

import (
	"os/exec"
	"syscall"
)

// alone gives a command a session of its own: it and its children have no terminal
// to ask at, and end together when its context is done.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

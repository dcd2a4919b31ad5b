//go:build unix

package catalog

import (
	"os/exec"
	"syscall"
)

// alone runs a command in its own session: it and its children have no terminal
// for prompts, and are killed together when the context is done.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

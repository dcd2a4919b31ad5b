package cli_test

import (
	"os/exec"
	"syscall"
)

// endWithTest has the kernel end a program with the test.
func endWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

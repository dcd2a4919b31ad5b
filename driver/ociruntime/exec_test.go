package ociruntime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// The PID in a file may belong to another process by now.
func TestKillExec_PIDOfAnother(t *testing.T) {
	sleep := func() *exec.Cmd {
		cmd := exec.Command("sleep", "600")
		must.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it may have exited
		return cmd
	}
	stranger, runtime := sleep(), sleep()
	pidFile := filepath.Join(t.TempDir(), "pid")
	must.NoError(t, os.WriteFile(pidFile, fmt.Append(nil, stranger.Process.Pid), 0o600))
	must.NoError(t, killExec(runtime, pidFile))
	_ = runtime.Wait() // it was killed
	must.NoError(t, stranger.Process.Signal(unix.SIGCONT), must.Sprint("process of the reused PID was killed"))
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", stranger.Process.Pid))
	must.NoError(t, err)
	must.StrNotContains(t, string(state), ") Z")
}

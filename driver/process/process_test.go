package process

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// start runs a shell command and returns it with its identity.
func start(t *testing.T, script string) (*exec.Cmd, Identity) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	must.NoError(t, cmd.Start())
	id, err := Identify(cmd.Process.Pid)
	must.NoError(t, err)
	return cmd, id
}

func TestWait_ProcessEnds(t *testing.T) {
	cmd, id := start(t, "exec sleep 60")
	h, err := Open(id)
	must.NoError(t, err)
	defer h.Close()
	must.True(t, id.Alive())

	done := make(chan error, 1)
	go func() { done <- h.Wait() }()
	must.NoError(t, h.Signal(unix.SIGKILL))
	_ = cmd.Wait()
	select {
	case err := <-done:
		must.NoError(t, err)
	case <-time.After(testtimeout.Scale(10 * time.Second)):
		t.Fatal("Wait did not return")
	}
	must.False(t, id.Alive())
	must.ErrorIs(t, h.Signal(unix.SIGTERM), ErrGone)
}

func TestInterrupt_EndsWait(t *testing.T) {
	cmd, id := start(t, "exec sleep 60")
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	h, err := Open(id)
	must.NoError(t, err)
	defer h.Close()
	done := make(chan error, 1)
	go func() { done <- h.Wait() }()
	must.NoError(t, h.Interrupt())
	must.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
	must.True(t, id.Alive())
}

func TestHandle_AfterClose(t *testing.T) {
	cmd, id := start(t, "exec sleep 60")
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	h, err := Open(id)
	must.NoError(t, err)
	must.NoError(t, h.Close())
	must.Error(t, h.Wait())
	must.Error(t, h.Signal(unix.SIGKILL))
	must.Error(t, h.Interrupt())
	must.True(t, id.Alive())
}

// nomad#17960: a reused PID does not identify the original process.
// Trap D13.
func TestIdentity_ReusedPID(t *testing.T) {
	id, err := Identify(os.Getpid())
	must.NoError(t, err)
	for name, other := range map[string]Identity{
		"start time": {PID: id.PID, StartTicks: id.StartTicks + 1, BootID: id.BootID},
		"boot":       {PID: id.PID, StartTicks: id.StartTicks, BootID: "another"},
		"none":       {},
	} {
		t.Run(name, func(t *testing.T) {
			must.False(t, other.Alive())
			_, err := Open(other)
			must.ErrorIs(t, err, ErrGone)
		})
	}
}

func TestStatus_CodeAndSignal(t *testing.T) {
	for _, tc := range []struct {
		script string
		want   func(unix.WaitStatus) bool
	}{
		{"read x; exit 143", func(s unix.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 143 }},
		{"read x; kill -TERM $$", func(s unix.WaitStatus) bool { return s.Signaled() && s.Signal() == unix.SIGTERM }},
	} {
		t.Run(tc.script, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", tc.script)
			in, err := cmd.StdinPipe()
			must.NoError(t, err)
			must.NoError(t, cmd.Start())
			id, err := Identify(cmd.Process.Pid)
			must.NoError(t, err)
			h, err := Open(id)
			must.NoError(t, err)
			defer h.Close()
			must.NoError(t, in.Close())
			_ = cmd.Wait()
			status, err := h.Status()
			if errors.Is(err, ErrNoStatus) {
				t.Skip("this kernel does not keep exit statuses for a pidfd (Linux 6.15 does)")
			}
			must.NoError(t, err)
			must.True(t, tc.want(status), must.Sprintf("status %#x", int(status)))
		})
	}
}

package pod

import (
	"os/exec"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// The container is released while the goroutines of watch start.
func TestWatch_BothProcessesEnd(t *testing.T) {
	m := New(Config{RunDir: t.TempDir(), DataDir: t.TempDir(), Cgroups: cgroup.V1,
		TeardownTimeout: time.Second, Log: hclog.NewNullLogger()})
	defer func() { must.NoError(t, m.Close()) }()
	const alloc = "01234567-89ab-cdef-0123-456789abcdef"
	for range 50 {
		c := m.newContainer(m.enter(alloc), Task{ID: "task", AllocID: alloc, Name: "app"})
		init, monitor := exec.Command("sleep", "60"), exec.Command("sleep", "60")
		for _, p := range []struct {
			cmd *exec.Cmd
			id  *process.Identity
		}{{init, &c.state.Init}, {monitor, &c.state.Monitor}} {
			must.NoError(t, p.cmd.Start())
			var err error
			*p.id, err = process.Identify(p.cmd.Process.Pid)
			must.NoError(t, err)
		}
		must.NoError(t, c.hold())
		for _, cmd := range []*exec.Cmd{init, monitor} {
			must.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait() // the error is that it was killed
		}
		c.watch()
		select {
		case <-c.done:
		case <-time.After(testtimeout.Scale(10 * time.Second)):
			t.Fatal("exit was not detected")
		}
		m.leave(c.pod)
	}
}

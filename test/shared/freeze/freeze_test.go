package freeze_test

import (
	"io"
	"os/exec"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/freeze"
)

func TestProcess(t *testing.T) {
	cmd := exec.Command("cat", "/dev/zero")
	cmd.Stdout = io.Discard
	must.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	freeze.Process(t, cmd.Process.Pid)
	p, err := procfs.NewProc(cmd.Process.Pid)
	must.NoError(t, err)
	stat, err := p.Stat()
	must.NoError(t, err)
	must.Eq(t, "T", stat.State)
}

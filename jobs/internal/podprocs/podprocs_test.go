package podprocs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
)

func TestReadNamesTasks(t *testing.T) {
	dir := procstest.Dir(t,
		procstest.Process{PID: 1, Comm: "catatonit"},
		procstest.Process{PID: 7, Comm: "app", Cgroup: procstest.Scope("app"), Start: 42},
		procstest.Process{PID: 8, PPID: 7, Comm: "child"},
		procstest.Process{PID: 9, PPID: 1, Comm: "orphan"},
	)
	must.NoError(t, os.Mkdir(filepath.Join(dir, "50"), 0o755)) // listed, then gone
	proc, err := procfs.NewFS(dir)
	must.NoError(t, err)
	found, err := Read(proc, procstest.AllocID)
	must.NoError(t, err)
	tasks := map[Identity]string{}
	for _, p := range found {
		tasks[p.Identity()] = p.Task
	}
	must.Eq(t, map[Identity]string{{1, 0}: "(pod)", {7, 42}: "app", {8, 0}: "app", {9, 0}: ""}, tasks)

	procstest.Write(t, filepath.Join(dir, "50", "stat"), "50 (half")
	_, err = Read(proc, procstest.AllocID)
	must.ErrorContains(t, err, "read process 50")
}

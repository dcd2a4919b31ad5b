package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// group returns a cgroup for a test, which is removed after the test.
func group(t *testing.T) Group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to create cgroups")
	}
	v, err := Detect()
	if err != nil {
		t.Skipf("needs cgroups: %v", err)
	}
	g := At(v, fmt.Sprintf("/nomad-driver-pod-test-%d", os.Getpid()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testtimeout.Scale(10*time.Second))
		defer cancel()
		must.NoError(t, g.Kill(ctx))
		must.NoError(t, g.Remove())
		must.False(t, g.Exists())
	})
	return g
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestKill_DetachedDescendants(t *testing.T) {
	g := group(t)
	// The child waits until it has been moved, starts a daemon in its own session, and exits.
	cmd := exec.Command("/bin/sh", "-c", "read x; setsid sh -c 'sleep 600 & sleep 600 & wait' & exit 0")
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	must.NoError(t, g.Add(cmd.Process.Pid))
	must.NoError(t, in.Close())
	must.NoError(t, cmd.Wait())

	deadline := time.Now().Add(testtimeout.Scale(10 * time.Second))
	for {
		pids, err := g.Procs()
		must.NoError(t, err)
		if len(pids) >= 3 {
			break
		}
		must.True(t, time.Now().Before(deadline), must.Sprintf("processes in the cgroup: %v", pids))
	}
	must.NoError(t, g.Kill(within(t, testtimeout.Scale(10*time.Second))))
	pids, err := g.Procs()
	must.NoError(t, err)
	must.Len(t, 0, pids)
}

func TestGroup_RootRefused(t *testing.T) {
	for _, path := range []string{"", "/", "..", "/a/.."} {
		g := At(V2, path)
		must.ErrorContains(t, g.Kill(within(t, testtimeout.Scale(10*time.Second))), "root group")
		must.ErrorContains(t, g.Remove(), "root group")
	}
}

func TestGroup_Missing(t *testing.T) {
	v, err := Detect()
	if err != nil {
		t.Skipf("needs cgroups: %v", err)
	}
	g := At(v, "/nomad-driver-pod-test-none/below")
	must.False(t, g.Exists())
	pids, err := g.Procs()
	must.NoError(t, err)
	must.Len(t, 0, pids)
	must.NoError(t, g.Kill(within(t, testtimeout.Scale(10*time.Second))))
	must.NoError(t, g.Remove())
}

func TestRemoveTree_HierarchyNotMounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "task")
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "child"), 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("42"), 0o644))
	must.NoError(t, removeTree(dir))
	must.DirNotExists(t, dir)
}

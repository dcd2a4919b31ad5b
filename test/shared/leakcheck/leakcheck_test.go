package leakcheck_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m))
}

// leak creates one entry of a kind and returns a function that removes it.
type leak struct {
	kind string
	make func(t *testing.T, dir string) (undo func())
	root bool
}

func leakKinds() []leak {
	return []leak{
		{leakcheck.Mount, leakMount, true},
		{leakcheck.Netns, leakNetns, true},
		{leakcheck.Cgroup, leakCgroup, true},
		{leakcheck.File, leakFile, false},
		{leakcheck.Process, leakProcess, false},
		{leakcheck.Descriptor, leakDescriptor, false},
		{leakcheck.Goroutine, leakGoroutine, false},
	}
}

// testCgroup is a top-level cgroup of this test only.
func testCgroup() string { return fmt.Sprintf("leaktest%d", os.Getpid()) }

func TestSnapshot_EachKind(t *testing.T) {
	for _, l := range leakKinds() {
		t.Run(l.kind, func(t *testing.T) {
			if l.root {
				sandbox.Require(t)
			}
			dir := t.TempDir()
			scope := leakcheck.Scope{Dirs: []string{dir}, Cgroups: []string{testCgroup()}}

			before, err := scope.Snapshot()
			must.NoError(t, err)
			undo := l.make(t, dir)
			after, err := scope.Snapshot()
			must.NoError(t, err)
			undo()

			seen := leakcheck.Diff(before, after)
			must.True(t, slices.ContainsFunc(seen, func(e leakcheck.Entry) bool {
				return e.Kind == l.kind
			}), must.Sprintf("entries found: %v", seen))

			ctx, cancel := context.WithTimeout(t.Context(), testtimeout.Scale(10*time.Second))
			defer cancel()
			must.NoError(t, scope.Settle(ctx, before))
		})
	}
}

func TestSettle_NamesLeaks(t *testing.T) {
	dir := t.TempDir()
	scope := leakcheck.Scope{Dirs: []string{dir}, Programs: []string{}}
	before, err := scope.Snapshot()
	must.NoError(t, err)
	path := filepath.Join(dir, "forgotten")
	must.NoError(t, os.WriteFile(path, nil, 0o600))

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err = scope.Settle(ctx, before)
	must.ErrorContains(t, err, "file "+path)
}

func TestScope_Programs(t *testing.T) {
	scope := leakcheck.Scope{Programs: []string{"no such program"}}
	snap, err := scope.Snapshot()
	must.NoError(t, err)
	for entry := range snap {
		must.NotEq(t, leakcheck.Process, entry.Kind, must.Sprint(entry))
	}
	undo := leakProcess(t, "")
	after, err := scope.Snapshot()
	undo()
	must.NoError(t, err)
	must.Len(t, 1, processes(after), must.Sprint("child with another name"))
}

func processes(snap leakcheck.Snapshot) (found []leakcheck.Entry) {
	for entry := range snap {
		if entry.Kind == leakcheck.Process {
			found = append(found, entry)
		}
	}
	return found
}

func leakMount(t *testing.T, dir string) func() {
	must.NoError(t, unix.Mount("leakcheck", dir, "tmpfs", 0, ""))
	return func() { must.NoError(t, unix.Unmount(dir, 0)) }
}

func leakNetns(t *testing.T, _ string) func() {
	path := "/run/netns/leakcheck"
	must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must.NoError(t, os.WriteFile(path, nil, 0o600))
	return func() { must.NoError(t, os.Remove(path)) }
}

func leakCgroup(t *testing.T, _ string) func() {
	top := "/sys/fs/cgroup/memory" // v1
	if _, err := os.Stat(top); err != nil {
		top = "/sys/fs/cgroup" // v2
	}
	top = filepath.Join(top, testCgroup())
	below := filepath.Join(top, "task")
	must.NoError(t, os.MkdirAll(below, 0o755))
	return func() {
		must.NoError(t, os.Remove(below))
		must.NoError(t, os.Remove(top))
	}
}

func leakFile(t *testing.T, dir string) func() {
	path := filepath.Join(dir, "layer")
	must.NoError(t, os.WriteFile(path, nil, 0o600))
	return func() { must.NoError(t, os.Remove(path)) }
}

func leakProcess(t *testing.T, _ string) func() {
	cmd := exec.Command("sleep", "60")
	must.NoError(t, cmd.Start())
	return func() {
		must.NoError(t, cmd.Process.Kill())
		must.Error(t, cmd.Wait())
	}
}

func leakDescriptor(t *testing.T, _ string) func() {
	file, err := os.Open("/dev/null")
	must.NoError(t, err)
	return func() { must.NoError(t, file.Close()) }
}

func leakGoroutine(*testing.T, string) func() {
	stop := make(chan struct{})
	go func() { <-stop }()
	return func() { close(stop) }
}

func TestSettleNamed_FindsEachKind(t *testing.T) {
	sandbox.Require(t)
	const name = "0a1b2c3d-named"
	dir := filepath.Join(t.TempDir(), name)
	must.NoError(t, os.Mkdir(dir, 0o755))
	scope := leakcheck.Scope{Dirs: []string{dir}, Cgroups: []string{testCgroup()}}
	for kind, leak := range map[string]func() (undo func()){
		leakcheck.Mount: func() func() { return leakMount(t, dir) },
		leakcheck.File:  func() func() { return leakFile(t, dir) },
		leakcheck.Process: func() func() {
			cmd := exec.Command("sleep", "60")
			cmd.Env = []string{"NOMAD_ALLOC_ID=" + name}
			must.NoError(t, cmd.Start())
			awaitEnviron(t, cmd.Process.Pid)
			return func() {
				must.NoError(t, cmd.Process.Kill())
				must.Error(t, cmd.Wait())
			}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), testtimeout.Scale(10*time.Second))
			defer cancel()
			must.NoError(t, scope.SettleNamed(ctx, name))
			undo := leak()
			defer undo()
			must.NoError(t, scope.SettleNamed(ctx, "another name"))
			short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			must.ErrorContains(t, scope.SettleNamed(short, name), kind+" ")
		})
	}
}

// awaitEnviron waits until the environment of a process is readable. It is empty while the
// program is loaded.
func awaitEnviron(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(testtimeout.Scale(10 * time.Second))
	for {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		must.NoError(t, err)
		if len(environ) > 0 {
			return
		}
		must.True(t, time.Now().Before(deadline), must.Sprint("the environment stays empty"))
		time.Sleep(time.Millisecond)
	}
}

// A process that executed another program or was reparented is not new. A process that became a
// zombie, or that reuses a PID, is new.
func TestDiff_SameProcess(t *testing.T) {
	process := func(name string) leakcheck.Snapshot {
		return leakcheck.Snapshot{leakcheck.Entry{Kind: leakcheck.Process, Name: name}: 1}
	}
	before := process("7 (started at tick 5, child of 3): sh -c exec sleep 600")
	for name, leaks := range map[string]int{
		"7 (started at tick 5, child of 3): sleep 600":               0,
		"7 (started at tick 5, child of 1): sh -c exec sleep 600":    0,
		"7 (started at tick 5, child of 3): defunct sleep":           1,
		"7 (started at tick 6, child of 3): sh -c exec sleep 600":    1,
		"77 (started at tick 5, child of 3): sh -c exec sleep 600":   1,
		"7 (started at tick 55, child of 3): sh -c exec sleep 600":   1,
		"7 (started at tick 5, child of 3): echo , child of 9): x y": 0,
	} {
		must.Len(t, leaks, leakcheck.Diff(before, process(name)), must.Sprint(name))
	}
}

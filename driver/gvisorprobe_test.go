package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
)

// TestGvisorProbe_Again checks when runsc is probed again: when its file has changed in any way, and
// some time after a failure, but not after each.
func TestGvisorProbe_Again(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runsc")
	runs, broken := 0, errors.New("broken")
	var err error
	p := &gvisorProbe{path: path, run: func(context.Context) (string, error) {
		runs++
		return fmt.Sprint(runs), err
	}}
	check := func(want int, wantErr error) {
		t.Helper()
		for range 3 {
			version, got := p.result(t.Context())
			must.Eq(t, fmt.Sprint(want), version)
			must.Eq(t, wantErr, got)
		}
	}
	age := func() { p.at = p.at.Add(-gvisorRetry) }
	err = broken
	check(1, broken) // there is no file
	age()
	check(2, broken)
	must.NoError(t, os.WriteFile(path, []byte("a"), 0o755))
	check(3, broken)
	must.NoError(t, os.WriteFile(path+".new", []byte("b"), 0o755))
	must.NoError(t, os.Rename(path+".new", path))
	err = nil
	check(4, nil)
	age()
	check(4, nil) // what works is not probed again
	for i, change := range []func() error{
		func() error { return os.Chmod(path, 0o700) },
		func() error { return os.Truncate(path, 0) },
		func() error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		func() error { return os.Remove(path) },
	} {
		must.NoError(t, change())
		check(5+i, nil)
	}
	must.Eq(t, 8, runs)

	ctx, cancel := context.WithCancel(t.Context())
	p.run = func(context.Context) (string, error) { cancel(); return "9", broken }
	must.NoError(t, os.WriteFile(path, nil, 0o755))
	_, got := p.result(ctx)
	must.ErrorIs(t, got, context.Canceled)
	must.Eq(t, "8", p.version, must.Sprint("an interrupted probe was remembered"))
}

// TestGvisorProbe_Hangs checks that a runsc that does not end, or is a directory, leaves the host
// healthy for other tasks.
func TestGvisorProbe_Hangs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	write := func(name, script string) string {
		path := filepath.Join(dir, name)
		must.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755))
		return path
	}
	for path, want := range map[string]string{
		write("all", "sleep 600"): "the probe of a sandbox took longer than 1s",
		write("run", "[ \"$1\" = --version ] || sleep 600\necho runsc version 1\n"): "the probe of a sandbox took longer than 1s",
		dir: "cannot be executed",
	} {
		s := defaults(t)
		s.DataDir, s.RunDir = filepath.Join(dir, "d"), filepath.Join(dir, "r")
		s.Runtimes.Runsc = &RunscConfig{Path: path}
		h, err := findHost(t.Context(), s)
		must.NoError(t, err)
		h.gvisor.run = func(ctx context.Context) (string, error) { return h.tryGvisor(ctx, s, time.Second) }
		fp := fingerprint(t.Context(), h, nil)
		must.Eq(t, drivers.HealthStateHealthy, fp.Health)
		must.StrContains(t, fp.HealthDescription, `runtime = "runsc" is refused: `+path)
		must.StrContains(t, fp.HealthDescription, want)
		works, ok := fp.Attributes["driver.pod.runtime.runsc"].GetBool()
		must.True(t, ok)
		must.False(t, works)
	}
}

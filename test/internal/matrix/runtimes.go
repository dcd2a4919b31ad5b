package matrix

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

// WithBoth runs a test with each OCI runtime, given by its path. It is for tests that start,
// recover, execute in, measure, stop or attack containers.
func WithBoth(t *testing.T, f func(t *testing.T, runtime string)) {
	t.Helper()
	with(t, Both(), f)
}

// WithOne runs a test that gives the same result with every runtime.
func WithOne(t *testing.T, f func(t *testing.T, runtime string)) {
	t.Helper()
	with(t, One(), f)
}

func with(t *testing.T, runtimes []string, f func(t *testing.T, runtime string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, name := range runtimes {
		t.Run(name, func(t *testing.T) {
			f(t, Command(t, name))
		})
	}
}

// withoutCgroup2 is called once, by the first test with crun.
var withoutCgroup2 = sync.OnceValues(sandbox.EnterWithoutCgroup2)

// Command returns the path of a runtime. crun refuses a hybrid cgroup hierarchy in which v2 has
// controllers; there it is wrapped to run in a mount namespace without the v2 side.
func Command(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	before, err := withoutCgroup2()
	must.NoError(t, err)
	if name != "crun" || before == nil {
		return path
	}
	wrapper := filepath.Join(t.TempDir(), name)
	script := "#!/bin/sh\nexec"
	for _, word := range append(before, path) {
		script += " '" + word + "'" // no word contains a quote
	}
	script += " \"$@\"\n"
	must.NoError(t, os.WriteFile(wrapper, []byte(script), 0o755))
	return wrapper
}

// UsernsRuntime returns the path of a runtime that can create pods with user namespaces, from a
// package two directories below the repository: Debian 12's runtimes cannot.
func UsernsRuntime(t *testing.T) string {
	t.Helper()
	return built(t, "runc")
}

// GvisorRuntime returns the path of a current runsc in the same way: Debian's is too old.
func GvisorRuntime(t *testing.T) string {
	t.Helper()
	return built(t, "runsc")
}

func built(t *testing.T, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime, err := filepath.Abs(filepath.Join("../../bin/runtimes", name))
	must.NoError(t, err)
	if _, err := os.Stat(runtime); err != nil {
		t.Skipf("needs bin/runtimes/%s: make runtimes", name)
	}
	return runtime
}

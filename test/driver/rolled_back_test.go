package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// failing wraps a program in a script that fails if one of its arguments is word.
func failing(t *testing.T, program, word string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(program))
	script := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" %s \"*) echo made to fail >&2; exit 1;; esac\nexec %s \"$@\"\n", word, program)
	must.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// TestStart_RolledBack checks that a start that fails at any phase leaves nothing behind: newNode's
// leak check and the pod's removal fail otherwise.
func TestStart_RolledBack(t *testing.T) {
	for name, tc := range map[string]struct {
		runtime string // verb that fails
		conmon  string // script in place of conmon
		want    string
	}{
		"create":            {runtime: "create"},
		"start":             {runtime: "start"},
		"holder":            {runtime: "run"},
		"monitor fails":     {conmon: "exit 3", want: "conmon"},
		"monitor is silent": {conmon: "exit 0", want: "conmon"},
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
				// The fingerprint is made with the real programs.
				config := sh("exec sleep 600")
				config.Share = []string{"ipc", "uts", "pid"}
				n.newTask("", "first", sh("exit 0"), nil).start()

				n.replace(tc.runtime, tc.conmon)
				tk := n.newTask("", "fails", config, nil)
				_, _, err := n.StartTask(tk.TaskConfig)
				must.Error(t, err)
				must.StrContains(t, err.Error(), tc.want)
				_, err = n.InspectTask(tk.ID)
				must.ErrorContains(t, err, "not found")
				found, err := filepath.Glob(filepath.Join(n.config.DataDir, "roots", "*fails*"))
				must.NoError(t, err)
				must.Len(t, 0, found)
				found, err = filepath.Glob(filepath.Join(n.config.RunDir, "runtime", "*fails*"))
				must.NoError(t, err)
				must.Len(t, 0, found)
			})
		})
	}
}

// replace replaces the programs by failing ones at the same paths, so that the driver does not
// probe the host again.
func (n *node) replace(verb, conmon string) {
	n.t.Helper()
	if verb != "" {
		moved := filepath.Join(n.t.TempDir(), filepath.Base(n.programs.runtime))
		must.NoError(n.t, os.Rename(n.programs.runtime, moved))
		must.NoError(n.t, os.Rename(failing(n.t, moved, verb), n.programs.runtime))
	}
	if conmon != "" {
		must.NoError(n.t, os.WriteFile(n.programs.conmon, []byte("#!/bin/sh\n"+conmon+"\n"), 0o755))
	}
}

// Trap D14: an interrupted start is repeated with the same ID despite its own leftovers.
func TestStart_RepeatedAfterCutOff(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "again", sh("echo up $$; exec sleep 600"), nil)
		tk.start()
		old, err := n.InspectTask(tk.ID)
		must.NoError(t, err)
		n.abandon()
		n.start()
		_, _, err = n.StartTask(tk.TaskConfig)
		must.NoError(t, err)
		again, err := n.InspectTask(tk.ID)
		must.NoError(t, err)
		must.NotEq(t, old.DriverAttributes["pid"], again.DriverAttributes["pid"])
		_, err = os.Stat("/proc/" + old.DriverAttributes["pid"])
		must.True(t, os.IsNotExist(err), must.Sprint("process of the first start is still running"))
	})
}

// TestFingerprint_Missing checks that the fingerprint names the missing program and its package.
func TestFingerprint_Missing(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		for key, change := range map[string]func(*driver.PluginConfig){
			"/no/such/runtime": func(c *driver.PluginConfig) { c.Runtime = "/no/such/runtime" },
			"/no/such/conmon":  func(c *driver.PluginConfig) { c.Runtime, c.Conmon = runtime, "/no/such/conmon" },
			"true (version":    func(c *driver.PluginConfig) { c.Runtime = "/bin/true" },
		} {
			n := newNode(t, change)
			fp := n.fingerprint()
			must.Eq(t, "unhealthy", string(fp.Health))
			must.StrContains(t, fp.HealthDescription, key)
			_, _, err := n.StartTask(n.newTask("", "t", sh("exit 0"), nil).TaskConfig)
			must.ErrorContains(t, err, key)
		}
		t.Setenv("PATH", "/nonexistent")
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		fp := n.fingerprint()
		if fp.Health != "healthy" {
			must.StrContains(t, fp.HealthDescription, "install the package")
		}
	})
}

// TestFingerprint_PicksWorkingRuntime checks that the first working runtime is used, and that the
// fingerprint explains why an earlier one is not.
func TestFingerprint_PicksWorkingRuntime(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		fp := n.fingerprint()
		must.Eq(t, "healthy", string(fp.Health), must.Sprint(fp.HealthDescription))
		name, _ := fp.Attributes["driver.pod.runtime"].GetString()
		must.Eq(t, filepath.Base(runtime), name)
	})
	chosen := newNode(t, nil) // after the end of the others, whose work would count as its leaks
	fp := chosen.fingerprint()
	must.Eq(t, "healthy", string(fp.Health), must.Sprint(fp.HealthDescription))
	if strings.Contains(fp.HealthDescription, "crun") {
		must.StrContains(t, fp.HealthDescription, "cannot create a container here: ")
	}
}

package driver_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// Tasks on a host on which the runtime or conmon is missing, replaced or hangs, or which has no
// processes or memory left.

// TestStart_ProgramRemoved checks that starts fail with the name of a runtime or monitor that was
// removed or replaced, that running tasks continue and can be stopped, and that starts succeed
// once the program is back.
func TestStart_ProgramRemoved(t *testing.T) {
	garbage := func(path string) error { return os.WriteFile(path, []byte("\x7fELF no more"), 0o755) }
	fails := func(path string) error {
		return os.WriteFile(path, []byte("#!/bin/sh\necho broken update >&2\nexit 42\n"), 0o755)
	}
	for name, tc := range map[string]struct {
		conmon bool
		harm   func(path string) error
		want   string
	}{
		"runtime removed":  {harm: os.Remove, want: "from the plugin's config cannot be executed"},
		"conmon removed":   {conmon: true, harm: os.Remove, want: "from the plugin's config cannot be executed"},
		"runtime replaced": {harm: fails, want: "conmon exited without a report"},
		"conmon replaced":  {conmon: true, harm: fails, want: "exit status 42"},
		"runtime garbage":  {harm: garbage, want: "create"},
		"conmon garbage":   {conmon: true, harm: garbage, want: "conmon"},
	} {
		t.Run(name, func(t *testing.T) {
			withOneRuntime(t, func(t *testing.T, runtime string) {
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
				other, leaver := n.startBystander(), n.newTask("", "leaver", sh("trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done"), nil)
				leaver.start()
				must.Eq(t, "up\n", leaver.output("stdout", contains("up")))
				path := n.programs.runtime
				if tc.conmon {
					path = n.programs.conmon
				}
				before, err := os.ReadFile(path)
				must.NoError(t, err)
				must.NoError(t, tc.harm(path))
				tk := n.newTask("", "hapless", sh("exit 0"), quiet)
				_, _, err = n.StartTask(tk.TaskConfig)
				must.ErrorContains(t, err, tc.want)
				must.StrNotContains(t, err.Error(), tk.AllocID, must.Sprint("container ids and directories of the task"))
				other.checkUnharmed()
				must.NoError(t, n.StopTask(leaver.ID, maxWait, "SIGTERM"))
				must.Eq(t, 6, leaver.wait().ExitCode)
				must.NoError(t, os.RemoveAll(path))
				must.NoError(t, os.WriteFile(path, before, 0o755))
				must.NoError(t, n.DestroyTask(leaver.ID, true))
				tk.start() // with the same task ID
				must.Eq(t, 0, tk.wait().ExitCode)
				other.checkUnharmed()
			})
		})
	}
}

// TestStart_OtherPodNotRemovable checks that tasks of other pods can be inspected, stopped and
// started while the removal of a pod hangs in the runtime.
func TestStart_OtherPodNotRemovable(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		other := n.startBystander()
		config := sh("exit 0")
		config.Share = []string{"pid"}
		first := n.newTask("", "first", config, quiet)
		first.start()
		first.wait()
		whole, err := os.ReadFile(n.programs.runtime)
		must.NoError(t, err)
		// Only the removal of the infra process hangs, until the test writes to the gate.
		gate := filepath.Join(t.TempDir(), "gate")
		must.NoError(t, unix.Mkfifo(gate, 0o600))
		hang := "case \" $* \" in *\" delete --force " + first.AllocID + ".pod \"*) echo hangs > " + gate + ".reached; read x < " + gate + ";; esac\n"
		must.NoError(t, os.WriteFile(n.programs.runtime, []byte(strings.Replace(string(whole), "\n", "\n"+hang, 1)), 0o755))
		must.NoError(t, n.DestroyTask(first.ID, true))
		n.waitFor("the removal of the pod", func() bool { _, err := os.Stat(gate + ".reached"); return err == nil })
		other.checkUnharmed()
		n.checkStarts(sh("exit 0"))
		_, err = os.Stat(filepath.Join(n.config.RunDir, "pods", first.AllocID))
		must.NoError(t, err, must.Sprint("pod was removed before the end of the test"))
		must.NoError(t, os.WriteFile(gate+".whole", whole, 0o755))
		must.NoError(t, os.Rename(gate+".whole", n.programs.runtime))
		must.NoError(t, os.WriteFile(gate, []byte("go\n"), 0))
		again := n.newTask(first.AllocID, "first", config, quiet) // its start waits for the removal of the old pod
		again.start()
		must.Eq(t, 0, again.wait().ExitCode)
	})
}

// TestStart_OutOfProcesses checks that a start fails with the reason if no process can be created
// for the monitor, and that running tasks continue and can be stopped.
func TestStart_OutOfProcesses(t *testing.T) {
	if v, err := cgroup.Detect(); err != nil || v == cgroup.V2 {
		t.Skip("needs the pids hierarchy of cgroup v1")
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		other := n.startBystander()
		limit := func(n string) {
			must.NoError(t, os.WriteFile("/sys/fs/cgroup/pids/nomad-driver-pod/pids.max", []byte(n), 0o644))
		}
		for _, most := range []string{"1", "2", "3"} {
			limit(most)
			tk := n.newTask("", "hapless", sh("exit 0"), quiet)
			err := n.startError(tk)
			must.RegexMatch(t, regexp.MustCompile("conmon|unavailable"), err.Error(), must.Sprint(most)) // the error of the runtime, if it started
			other.checkUnharmed()
			limit("max")
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode)
		}
	})
}

// TestStart_OutOfMemory checks that a start fails with the reason if the runtime or the monitor
// gets no memory, and that the next start succeeds once there is memory.
func TestStart_OutOfMemory(t *testing.T) {
	if v, err := cgroup.Detect(); err != nil || v == cgroup.V2 {
		t.Skip("needs the memory hierarchy of cgroup v1")
	}
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		other := n.startBystander()
		tk := n.newTask("", "hapless", sh("exit 0"), quiet)
		// Limit the pod's own cgroup: in a shared one the kernel could kill processes of other
		// pods.
		group := "/sys/fs/cgroup/memory/nomad-driver-pod/" + tk.AllocID
		must.NoError(t, os.Mkdir(group, 0o755))
		must.NoError(t, os.WriteFile(group+"/memory.limit_in_bytes", []byte("65536"), 0o644))
		must.ErrorContains(t, n.startError(tk), "conmon")
		other.checkUnharmed()
		n.waitFor("the pod to be gone", func() bool { _, err := os.Stat(group); return os.IsNotExist(err) })
		tk.start()
		must.Eq(t, 0, tk.wait().ExitCode)
	})
}

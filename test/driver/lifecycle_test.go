package driver_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

func TestStart_LogsOutput(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "web", sh("echo to-stdout; echo to-stderr >&2; exit 0"), nil)
		tk.start()
		must.True(t, tk.wait().Successful())
		tk.output("stdout", contains("to-stdout\n"))
		tk.output("stderr", contains("to-stderr\n"))
	})
}

// TestWait_ExitResults checks that exit codes and signals are distinguished.
func TestWait_ExitResults(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   drivers.ExitResult
	}{
		"code":      {"exit 7", drivers.ExitResult{ExitCode: 7}},
		"high code": {"exit 143", drivers.ExitResult{ExitCode: 143}},
		"term":      {"kill -TERM $$", drivers.ExitResult{ExitCode: 143, Signal: int(syscall.SIGTERM)}},
		"kill":      {"kill -KILL $$", drivers.ExitResult{ExitCode: 137, Signal: int(syscall.SIGKILL)}},
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				if tc.want.ExitCode > 128 && tc.want.Signal == 0 && !statusKept(t) {
					t.Skip("this kernel does not distinguish an exit code above 128 from a signal (Linux 6.15 does)")
				}
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
				// In its own PID namespace a shell is process 1, which cannot kill itself.
				config := sh(tc.script)
				config.Share = []string{"pid"}
				tk := n.newTask("", "ends", config, nil)
				tk.start()
				got := tk.wait()
				must.NoError(t, got.Err)
				must.Eq(t, tc.want, *got)
			})
		})
	}
}

// statusKept reports whether this kernel keeps exit statuses for processes other than the
// parent.
func statusKept(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	id, err := process.Identify(cmd.Process.Pid)
	must.NoError(t, err)
	h, err := process.Open(id)
	must.NoError(t, err)
	defer h.Close()
	must.NoError(t, in.Close())
	must.NoError(t, cmd.Wait())
	_, err = h.Status()
	return err == nil
}

func TestStop_SignalThenKill(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		polite := n.newTask("", "polite", sh("trap 'echo bye; exit 3' INT; echo up; while :; do sleep 0.05; done"), nil)
		polite.start()
		polite.output("stdout", contains("up"))
		must.NoError(t, n.StopTask(polite.ID, maxWait, "SIGINT"))
		must.Eq(t, 3, polite.wait().ExitCode)
		must.NoError(t, n.StopTask(polite.ID, maxWait, "SIGINT"), must.Sprint("stop of an ended task"))

		deaf := n.newTask("", "deaf", sh("trap '' TERM; echo up; while :; do sleep 60; done"), nil)
		deaf.start()
		deaf.output("stdout", contains("up"))
		must.NoError(t, n.StopTask(deaf.ID, 50*time.Millisecond, ""))
		must.Eq(t, int(syscall.SIGKILL), deaf.wait().Signal)
		must.ErrorContains(t, n.StopTask(deaf.ID, 0, "SIGNONSENSE"), `unknown signal "SIGNONSENSE"`)
	})
}

// Trap D2: a child that keeps standard output open does not delay the end.
// Trap D9: in a shared PID namespace, all processes of a task end with its first process, and no
// process of another task does.
func TestExit_KillsRemainingProcesses(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		share := func(c driver.TaskConfig) driver.TaskConfig { c.Share = []string{"ipc", "uts", "pid"}; return c }
		other := n.newTask(alloc, "other", share(sh("echo up; exec sleep 987654")), nil)
		other.start()
		dying := n.newTask(alloc, "dying", share(sh("(setsid sleep 123456 &); while ! pgrep -f 'sleep 123456'; do :; done; exit 4")), nil)
		dying.start()
		must.Eq(t, 4, dying.wait().ExitCode)
		list := other.exec("ps -eo args")
		must.StrContains(t, list, "sleep 987654")
		must.StrNotContains(t, list, "sleep 123456")
		must.StrContains(t, list, "catatonit")
	})
}

func TestPod_SharedByAllocation(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		idle := func(share ...string) driver.TaskConfig {
			c := sh("exec sleep 600")
			c.Share = share
			return c
		}
		a := n.newTask(alloc, "a", idle("ipc", "uts", "pid"), nil)
		b := n.newTask(alloc, "b", idle("ipc", "uts", "pid"), nil)
		alone := n.newTask(alloc, "alone", idle([]string{}...), nil)
		for _, tk := range []*task{a, b, alone} {
			tk.start()
		}
		ns := "for k in ipc uts pid; do readlink /proc/self/ns/$k; done"
		must.Eq(t, a.exec(ns), b.exec(ns))
		for _, link := range strings.Fields(a.exec(ns)) {
			must.StrNotContains(t, alone.exec(ns), link)
		}
		must.Eq(t, shortID(alloc)+"\n", a.exec("hostname"))
		a.exec("echo shared > /dev/shm/file")
		must.Eq(t, "shared\n", b.exec("cat /dev/shm/file"))
		must.Eq(t, "no\n", alone.exec("cat /dev/shm/file 2>/dev/null || echo no"))
		a.exec("echo on-disk > /alloc/file")
		must.Eq(t, "on-disk\n", b.exec("cat /alloc/file"))
	})
}

// shortID returns the host name of a task without a configured one.
func shortID(id string) string {
	if strings.Trim(id[:8], "0123456789") == "" {
		return id[:13] // digits alone are an address
	}
	return id[:8]
}

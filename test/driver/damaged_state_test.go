package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// damages returns ways to damage a file.
func damages() map[string]func(path string) error {
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	swap := func(from, to string) func(string) error {
		return func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(b), from) {
				return fmt.Errorf("no %s: %w", from, err)
			}
			return os.WriteFile(path, []byte(strings.ReplaceAll(string(b), from, to)), 0o600)
		}
	}
	return map[string]func(path string) error{
		"empty":     write(""),
		"truncated": func(path string) error { return os.Truncate(path, 40) },
		"binary":    write("\x00\xff\x1b[2J"),
		"types":     write(`{"version": 1, "task_id": {}, "alloc_id": [], "holder": 3}`),
		"nothing":   write("null"),
		"version":   swap(`"version":1`, `"version":0`),
		"stranger":  swap(`"alloc_id":"`, `"alloc_id":"f`),
		"huge":      func(path string) error { return os.Truncate(path, 1<<40) },
		"directory": func(path string) error {
			return first(os.Remove(path), os.Mkdir(path, 0o700), os.WriteFile(path+"/full", nil, 0o600))
		},
		"fifo": func(path string) error { return first(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"link": func(path string) error { return first(os.Remove(path), os.Symlink("/dev/zero", path)) },
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// watched is a running task and the processes it has.
type watched struct {
	*task
	handle *drivers.TaskHandle
	dir    string // directory of its state
	word   string // in the command line of its program
}

func (n *node) watched(alloc, name string, i int) *watched {
	n.t.Helper()
	word := fmt.Sprint(986000 + i)
	tk := n.newTask(alloc, name, sh("exec sleep "+word), quiet)
	w := &watched{task: tk, handle: tk.start(), word: word}
	status, err := n.InspectTask(tk.ID)
	must.NoError(n.t, err)
	w.dir = filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", status.DriverAttributes["container_id"])
	return w
}

// TestDamagedState_Task checks that damaged state of a task ends only that task, with an event, and
// that tasks, including the same one, can be started in this and other pods.
func TestDamagedState_Task(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		keeper, other := n.watched(alloc, "keeper", 0), n.startBystander()
		all := damages()
		all["cgroup"] = func(path string) error { // the cgroup of all tasks
			b, err := os.ReadFile(path)
			return first(err, os.WriteFile(path, []byte(strings.ReplaceAll(string(b), "/"+alloc+".cgroup", "")), 0o600))
		}
		all["with spec"] = func(path string) error {
			return first(os.Truncate(path, 1), os.Truncate(filepath.Join(filepath.Dir(path), "config.json"), 40))
		}
		all["with all"] = func(path string) error {
			dir := filepath.Dir(path)
			return first(os.Truncate(path, 1), os.Truncate(dir+"/config.json", 0), os.Remove(dir+"/pid"), os.Truncate(dir+"/maker", 0), os.Truncate(dir+"/exit", 0))
		}
		victims := map[string]*watched{}
		for name := range all {
			victims[name] = n.watched(alloc, strings.ReplaceAll(name, " ", "-"), len(victims)+1)
		}
		otherHandle := drivers.NewTaskHandle(1)
		otherHandle.Config = other.TaskConfig
		n.abandon()
		for name, damage := range all {
			if name == "with all" { // the exit file does not exist yet
				must.NoError(t, os.WriteFile(victims[name].dir+"/exit", []byte("x"), 0o600))
			}
			must.NoError(t, damage(filepath.Join(victims[name].dir, "task.json")), must.Sprint(name))
		}
		n.start()
		events := n.watchEvents()
		must.NoError(t, n.RecoverTask(keeper.handle))
		must.NoError(t, n.RecoverTask(otherHandle))
		late := n.newTask(alloc, "late", sh("exit 0"), quiet)
		late.start()
		must.Eq(t, 0, late.wait().ExitCode, must.Sprint("another task of the pod"))
		for name, victim := range victims {
			if name == "empty" || name == "with all" { // start it without a recovery
				must.Eq(t, 1, leakcheck.Running(t, victim.word))
			} else {
				must.ErrorContains(t, n.RecoverTask(victim.handle), "damaged state file", must.Sprint(name))
			}
			again := n.newTask(alloc, victim.Name, sh("exit 0"), quiet)
			again.start()
			must.Eq(t, 0, again.wait().ExitCode, must.Sprint(name))
			n.waitFor(name+": the old program to end", func() bool { return leakcheck.Running(t, victim.word) == 0 })
			n.waitFor(name+": its event", func() bool {
				_, event, found := strings.Cut(events(), victim.Name+": ")
				event, _, _ = strings.Cut(event, "\n")
				readable(t, event)
				return found && strings.Contains(event, "cannot read its state")
			})
		}
		must.Eq(t, 1, leakcheck.Running(t, keeper.word))
		other.checkUnharmed()
		n.checkStarts(sh("exit 0"))
	})
}

// TestDamagedState_Pod checks that damaged state of a pod is recreated: its tasks continue in the
// same PID namespace, and new tasks join it.
func TestDamagedState_Pod(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		all := damages()
		all["missing"] = os.Remove
		keepers := map[string]*watched{}
		for name := range all {
			tk := n.newTask("", "keeper", func() driver.TaskConfig {
				c := sh("exec sleep 985001")
				c.Share = []string{"pid"}
				return c
			}(), quiet)
			keepers[name] = &watched{task: tk, handle: tk.start()}
		}
		n.abandon()
		for name, damage := range all {
			must.NoError(t, damage(filepath.Join(n.config.RunDir, "pods", keepers[name].AllocID, "pod.json")), must.Sprint(name))
		}
		n.start()
		for name, keeper := range keepers {
			must.NoError(t, n.RecoverTask(keeper.handle))
			config := sh("ps -eo args | grep -q '[s]leep 985001'")
			config.Share = []string{"pid"}
			late := n.newTask(keeper.AllocID, "late", config, quiet)
			late.start()
			must.Eq(t, 0, late.wait().ExitCode, must.Sprint(name))
			status, err := n.InspectTask(keeper.ID)
			must.NoError(t, err)
			must.Eq(t, drivers.TaskStateRunning, status.State)
		}
	})
}

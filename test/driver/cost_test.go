package driver_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestTask_Cost checks the number of processes, since times depend on the machine: a start executes
// three programs, an end one, and a running task needs one helper process.
func TestTask_Cost(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		ran := n.recordPrograms()
		n.fingerprint() // probes the runtime
		before := processes(t)
		ran.take()
		for i := range 3 {
			tk := n.newTask("", fmt.Sprint("t", i), sh("exec sleep 600"), withoutCollector)
			tk.start()
			must.Eq(t, []string{"conmon", "create", "start"}, ran.take())
			n.waitForNew(before, append(slices.Repeat([]string{"conmon", "sleep"}, i+1), "nomad-pod-logs"))
			_, err := n.InspectTask(tk.ID)
			must.NoError(t, err)
			usage, err := n.TaskStats(t.Context(), tk.ID, maxWait)
			must.NoError(t, err)
			must.NotNil(t, <-usage)
			must.SliceEmpty(t, ran.take(), must.Sprint("programs run for statistics"))
		}
		last := n.newTask("", "last", sh("exec sleep 600"), withoutCollector)
		last.start()
		ran.take()
		must.NoError(t, n.StopTask(last.ID, maxWait, "SIGKILL"))
		must.NoError(t, n.DestroyTask(last.ID, false))
		must.Eq(t, []string{"delete"}, ran.take())
	})
}

// record is a file with one line per execution of a program.
type record struct {
	t    *testing.T
	path string
}

// recordPrograms makes the node's runtime and conmon record each execution. For the runtime it
// records the verb.
func (n *node) recordPrograms() record {
	n.t.Helper()
	r := record{n.t, filepath.Join(n.t.TempDir(), "ran")}
	r.take()
	for path, note := range map[string]string{
		n.programs.conmon:  `echo conmon`,
		n.programs.runtime: `for word; do case $word in -*) ;; *) echo "$word"; break;; esac; done`,
	} {
		script, err := os.ReadFile(path)
		must.NoError(n.t, err)
		text := strings.Replace(string(script), "\n", "\n{ "+note+"; } >> "+r.path+"\n", 1)
		must.NoError(n.t, os.WriteFile(path, []byte(text), 0o755))
	}
	return r
}

// take returns the executions since the last call.
func (r record) take() []string {
	r.t.Helper()
	b, err := os.ReadFile(r.path)
	if !os.IsNotExist(err) {
		must.NoError(r.t, err)
	}
	must.NoError(r.t, os.WriteFile(r.path, nil, 0o600))
	return strings.Fields(string(b))
}

// processes returns the names of the running processes by PID.
func processes(t *testing.T) map[int]string {
	t.Helper()
	all, err := procfs.AllProcs()
	must.NoError(t, err)
	names := map[int]string{}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil && stat.State != "Z" {
			names[p.PID] = stat.Comm
		}
	}
	return names
}

// waitForNew waits until exactly these processes are new. A task executes several programs in turn.
func (n *node) waitForNew(before map[int]string, want []string) {
	n.t.Helper()
	slices.Sort(want)
	var names []string
	for deadline := time.Now().Add(maxWait); !slices.Equal(want, names); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			must.Eq(n.t, want, names)
		}
		names = nil
		for pid, name := range processes(n.t) {
			if before[pid] == "" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
	}
}

// TestSeccomp_FilterPerProfile checks that tasks with the same seccomp profile, commands in them
// and the infra process get the same filter, and a task with another profile gets another one.
func TestSeccomp_FilterPerProfile(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "seccomp.json")
	must.NoError(t, os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`), 0o600))
	const probe = `awk '/^Seccomp:/ { print $2 }' /proc/self/status
unshare --user true 2>/dev/null && echo unshare
mkdir "$(mktemp -u)" 2>/dev/null && echo mkdir
true`
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.AllowPrivileged = runtime, true })
		for round := range 2 {
			for name, tc := range map[string]struct {
				options []string
				want    string
			}{
				"default":    {nil, "2\nmkdir\n"},
				"own":        {[]string{"seccomp=" + profile}, "2\nunshare\n"},
				"unconfined": {[]string{"seccomp=unconfined"}, "0\nunshare\nmkdir\n"},
			} {
				config := sh(probe + "\necho end\nexec sleep 600")
				config.SecurityOpt, config.Share = tc.options, []string{"pid"}
				tk := n.newTask("", name, config, nil)
				tk.start()
				must.Eq(t, tc.want+"end\n", tk.output("stdout", contains("end\n")), must.Sprintf("%s, round %d", name, round))
				must.Eq(t, tc.want, tk.exec(probe), must.Sprintf("exec in %s, round %d", name, round))
				known := round == 1 && filepath.Base(runtime) == "crun"
				must.Eq(t, known && name != "unconfined", n.usesFilter(tk.AllocID, "tasks", "*"))
				if round == 1 { // in the first round, the second pod reuses the filter of the first
					must.Eq(t, known, n.usesFilter(tk.AllocID, "holder"))
				}
				must.Eq(t, "2\n", tk.exec("awk '/^Seccomp:/ { print $2 }' /proc/1/status"))
			}
		}
	})
}

// usesFilter reports whether a container of a pod was created with a cached filter.
func (n *node) usesFilter(allocID string, dir ...string) bool {
	n.t.Helper()
	specs, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", allocID, filepath.Join(dir...), "config.json"))
	must.NoError(n.t, err)
	must.Len(n.t, 1, specs)
	b, err := os.ReadFile(specs[0])
	must.NoError(n.t, err)
	return strings.Contains(string(b), "run.oci.seccomp_bpf_data")
}

// TestTaskConfigSchema_ExpectsTask checks that Nomad's first call about a task makes the plugin
// prepare the kernel for moves of processes for a short time.
func TestTaskConfigSchema_ExpectsTask(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		moves := func() bool { // the plugin runs in this process
			links, err := filepath.Glob("/proc/self/fd/*")
			must.NoError(t, err)
			return slices.ContainsFunc(links, func(link string) bool {
				to, err := os.Readlink(link)
				return err == nil && filepath.Base(to) == "cgroup.procs"
			})
		}
		ask := func() {
			_, err := n.impl.TaskConfigSchema()
			must.NoError(t, err)
		}
		ask() // nothing to prepare before the first task
		n.checkStarts(sh("exit 0"))
		n.waitFor("the start's own moves to end", func() bool { return !moves() })
		ask()
		n.waitFor("moves", moves)
		n.waitFor("an end of the moves without a task", func() bool { return !moves() })
		ask() // the driver is closed meanwhile
	})
}

// useRuntimeCopy makes the node execute a copy of the runtime's program without a wrapper, and
// returns its path.
func (n *node) useRuntimeCopy(runtime string) string {
	n.t.Helper()
	n.stop()
	n.config.Runtime = filepath.Join(n.t.TempDir(), filepath.Base(runtime))
	must.NoError(n.t, os.Chmod(filepath.Dir(n.config.Runtime), 0o755))
	n.replaceRuntimeCopy(runtime)
	n.start()
	return n.config.Runtime
}

// replaceRuntimeCopy replaces the copy, as an upgrade does.
func (n *node) replaceRuntimeCopy(runtime string) {
	n.t.Helper()
	b, err := os.ReadFile(runtime)
	must.NoError(n.t, err)
	if !strings.HasPrefix(string(b), "\x7fELF") {
		n.t.Skipf("%s is a script on this host", runtime)
	}
	must.NoError(n.t, os.WriteFile(n.config.Runtime+".new", b, 0o755))
	must.NoError(n.t, os.Rename(n.config.Runtime+".new", n.config.Runtime))
}

// TestCrun_ExecutedOnce checks that crun is executed once per command, from a sealed copy, and from
// a new copy after the program was replaced.
func TestCrun_ExecutedOnce(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		if filepath.Base(runtime) != "crun" {
			return
		}
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		n.useRuntimeCopy(runtime)
		tk := n.newTask("", "app", sh("exec sleep 600"), quiet)
		tk.start()
		seen := map[uint64]bool{}
		for range 2 {
			copied, executed := n.runtimeInodes(tk)
			must.Eq(t, copied, executed)
			must.False(t, seen[copied])
			seen[copied] = true
			n.replaceRuntimeCopy(runtime)
			n.checkStarts(sh("exit 0"))
		}
	})
}

// runtimeInodes returns the inodes of the node's sealed copy of the runtime and of the program that
// is executed.
func (n *node) runtimeInodes(tk *task) (copied, executed uint64) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	before := processes(n.t)
	c, ended := newClient(ctx), make(chan error, 1)
	go func() { ended <- tk.stream(c, false, "/bin/cat") }()
	n.waitFor("the runtime to run", func() bool {
		now := processes(n.t)
		for pid, name := range now {
			info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
			if name == "crun" && before[pid] == "" && err == nil && slices.Contains(slices.Collect(maps.Values(now)), "cat") {
				executed = info.Sys().(*syscall.Stat_t).Ino
			}
		}
		return executed != 0
	})
	info, err := os.Stat(filepath.Join(n.config.RunDir, "sealed", fmt.Sprint(os.Getpid()), "crun"))
	must.NoError(n.t, err)
	c.send <- &drivers.ExecTaskStreamingRequestMsg{Stdin: &proto.ExecTaskStreamingIOOperation{Close: true}}
	must.NoError(n.t, <-ended)
	close(c.send)
	return info.Sys().(*syscall.Stat_t).Ino, executed
}

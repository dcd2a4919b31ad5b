package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// collecting starts a driver that collects the output of tasks itself.
func collecting(t *testing.T, runtime string) *node {
	t.Helper()
	return newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.LogCollector = runtime, "pod" })
}

// withoutCollector changes a task as if Nomad had started no log collector for it.
func withoutCollector(c *drivers.TaskConfig) { c.StdoutPath, c.StderrPath = "/not/there", "/not/there" }

// collectors returns the PIDs of this node's log collectors.
func (n *node) collectors() []int {
	n.t.Helper()
	all, err := procfs.AllProcs()
	must.NoError(n.t, err)
	var pids []int
	for _, p := range all {
		args, _ := p.CmdLine() // empty if it has exited
		if len(args) > 1 && args[0] == "nomad-driver-pod-logs" && strings.HasPrefix(args[1], n.config.RunDir) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// collectorDescriptors returns the number of open descriptors of the log collector.
func (n *node) collectorDescriptors() int {
	n.t.Helper()
	pids := n.collectors()
	must.Len(n.t, 1, pids)
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pids[0]))
	must.NoError(n.t, err)
	return len(open)
}

// logged returns the content of a task's log files.
func (tk *task) logged(stream string) string {
	tk.n.t.Helper()
	var all strings.Builder
	for i := range 100 {
		b, err := os.ReadFile(filepath.Join(tk.TaskDir().LogDir, fmt.Sprintf("%s.%s.%d", tk.Name, stream, i)))
		if os.IsNotExist(err) {
			break
		}
		must.NoError(tk.n.t, err)
		all.Write(b)
	}
	return all.String()
}

// TestLogs_OneCollector checks that one process collects the output of all tasks, into separate
// files that are complete when the exit is reported.
func TestLogs_OneCollector(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		waiting := n.newTask("", "waiting", sh("echo up; exec sleep 600"), withoutCollector)
		waiting.start()
		must.Eq(t, "up\n", waiting.output("stdout", contains("up")))
		for i := range 3 {
			tk := n.newTask("", fmt.Sprint("t", i), sh("echo out; echo err >&2; printf end"), withoutCollector)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode)
			must.Eq(t, "out\nend", tk.logged("stdout"))
			must.Eq(t, "err\n", tk.logged("stderr"))
		}
		must.Len(t, 1, n.collectors())
	})
}

// TestLogs_FirstTask checks that no output of the first task is lost, although the collector
// starts at the same time and may find a partially created task.
func TestLogs_FirstTask(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		for range 8 {
			t.Run("first", func(t *testing.T) {
				tk := collecting(t, runtime).newTask("", "short", sh("echo out; echo err >&2"), withoutCollector)
				tk.start()
				must.Eq(t, 0, tk.wait().ExitCode)
				must.Eq(t, "out\n", tk.logged("stdout"))
				must.Eq(t, "err\n", tk.logged("stderr"))
			})
		}
	})
}

// Trap D3: no line is lost or duplicated if the collector and the plugin are killed in turn, and
// the task ends while neither is running.
func TestLogs_CollectorAndPluginKilled(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		tk := n.newTask("", "counter", sh("trap 'echo last; exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; done"), withoutCollector)
		tk.Resources.NomadResources.Memory.MemoryMB = 64
		handle := tk.start()
		for range 3 {
			before := len(tk.logged("stdout"))
			pids := n.collectors()
			must.Len(t, 1, pids)
			must.NoError(t, unix.Kill(pids[0], unix.SIGKILL))
			n.waitFor("the log to grow", func() bool { return len(tk.logged("stdout")) > before })
			n.abandon()
			n.start()
			must.NoError(t, n.RecoverTask(handle))
		}
		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM"))
		must.Eq(t, 7, tk.wait().ExitCode)
		lines := strings.Split(strings.TrimSuffix(tk.logged("stdout"), "\n"), "\n")
		must.Eq(t, "last", lines[len(lines)-1])
		for i, line := range lines[:len(lines)-1] {
			must.Eq(t, strconv.Itoa(i+1), line)
		}
	})
}

// TestLogs_Rotated checks that the task's logs block limits its files.
func TestLogs_Rotated(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		config := sh("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); echo \"line $i\"; done") // 3.5 MB
		config.Logs = &driver.LogsConfig{MaxFiles: 2, MaxFileSizeMB: 1}
		tk := n.newTask("", "talker", config, withoutCollector)
		tk.start()
		must.Eq(t, 0, tk.wait().ExitCode)
		files, err := filepath.Glob(filepath.Join(tk.TaskDir().LogDir, "talker.stdout.*"))
		must.NoError(t, err)
		must.Len(t, 2, files)
		for _, file := range files {
			b, err := os.ReadFile(file)
			must.NoError(t, err)
			must.LessEq(t, 1<<20, len(b))
			must.StrHasPrefix(t, "line ", string(b))
			must.StrHasSuffix(t, "\n", string(b))
		}
		last, err := os.ReadFile(files[1])
		must.NoError(t, err)
		must.StrHasSuffix(t, "line 300000\n", string(last))
	})
}

// TestLogs_Disabled checks that nothing is collected if the job disables logging.
func TestLogs_Disabled(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		tk := n.newTask("", "quiet", sh("echo nobody hears"), quiet)
		tk.start()
		must.Eq(t, 0, tk.wait().ExitCode)
		must.Eq(t, "", tk.logged("stdout"))
		must.SliceEmpty(t, n.collectors())
	})
}

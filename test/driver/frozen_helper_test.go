package driver_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/freeze"
)

// frozenBound bounds each call while a helper is frozen. It is far below the timeout of a start.
const frozenBound = 20 * time.Second

// within runs a call and fails if it takes longer than frozenBound.
func (n *node) within(what string, call func()) {
	n.t.Helper()
	begin := time.Now()
	call()
	took := time.Since(begin)
	n.t.Logf("%s: %s", what, took.Round(time.Millisecond))
	must.Less(n.t, frozenBound, took, must.Sprint(what))
}

// freezeForTest stops a process with SIGSTOP until the end of the test.
func freezeForTest(t *testing.T, pid int) {
	t.Helper()
	freeze.Process(t, pid)
	p, err := os.FindProcess(pid)
	must.NoError(t, err)
	t.Cleanup(func() { _ = p.Signal(unix.SIGCONT); _ = p.Release() }) // it may have exited
}

// pidIn reads a PID from a file of a pod.
func (n *node) pidIn(pattern string) int {
	n.t.Helper()
	files, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", pattern))
	must.NoError(n.t, err)
	must.Len(n.t, 1, files)
	b, err := os.ReadFile(files[0])
	must.NoError(n.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must.NoError(n.t, err)
	return pid
}

// freezeRuntime makes every further call of the runtime for an allocation hang. thaw lets the
// following calls pass.
func (n *node) freezeRuntime(alloc string) (thaw func()) {
	n.t.Helper()
	path := n.programs.runtime
	whole, err := os.ReadFile(path)
	must.NoError(n.t, err)
	replace := func(script string) {
		must.NoError(n.t, os.WriteFile(path+".new", []byte(script), 0o755))
		must.NoError(n.t, os.Rename(path+".new", path))
	}
	replace(strings.Replace(string(whole), "\n", "\ncase \" $* \" in *"+alloc+"*) kill -STOP $$;; esac\n", 1))
	return func() { replace(string(whole)) }
}

// TestFrozenHelper freezes each helper process of a task in turn and checks that within a bound the
// task can be stopped and removed, other tasks start and continue, and a new plugin recovers it.
func TestFrozenHelper(t *testing.T) {
	for name, tc := range map[string]struct {
		freeze func(n *node, tk *task)
		shared bool // the task shares the pod's PID namespace
	}{
		"log collector": {freeze: func(n *node, _ *task) { freezeForTest(n.t, n.collectors()[0]) }},
		"monitor":       {freeze: func(n *node, tk *task) { freezeForTest(n.t, n.pidIn(tk.AllocID+"/tasks/*/conmon.pid")) }},
		"infra process": {freeze: func(n *node, tk *task) { freezeForTest(n.t, n.pidIn(tk.AllocID+"/holder/pid")) }, shared: true},
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				n := collecting(t, runtime)
				other := n.startBystander()
				config := sh("trap 'echo last; exit 7' TERM; echo up; while :; do sleep 0.01; done")
				if tc.shared {
					config.Share = []string{"pid"}
				}
				tk := n.newTask("", "app", config, withoutCollector)
				handle := tk.start()
				tk.output("stdout", contains("up"))
				tc.freeze(n, tk)
				n.frozen(tk, handle, other)
			})
		})
	}
}

// frozen operates on a task with a frozen helper and on other tasks.
func (n *node) frozen(tk *task, handle *drivers.TaskHandle, other *bystander) {
	otherHandle := drivers.NewTaskHandle(1)
	otherHandle.Config = other.TaskConfig
	n.within("a start in another pod", func() {
		late := n.newTask("", "late", sh("echo heard"), withoutCollector)
		late.start()
		must.Eq(n.t, 0, late.wait().ExitCode)
		must.Eq(n.t, "heard\n", late.logged("stdout"))
		must.NoError(n.t, n.DestroyTask(late.ID, true)) // otherwise the next plugin would have to recover it
	})
	n.within("a start in the same pod", func() {
		config := sh("exit 0")
		config.Share = []string{"pid"}
		late := n.newTask(tk.AllocID, "late", config, withoutCollector)
		late.start()
		must.Eq(n.t, 0, late.wait().ExitCode)
		must.NoError(n.t, n.DestroyTask(late.ID, true))
	})
	n.within("close", n.abandon)
	n.start()
	n.within("recover", func() {
		must.NoError(n.t, n.RecoverTask(otherHandle))
		must.NoError(n.t, n.RecoverTask(handle))
	})
	n.within("stop", func() {
		must.NoError(n.t, n.StopTask(tk.ID, frozenBound/2, "SIGTERM"))
		result := tk.wait()
		if result.Err == nil { // otherwise the monitor was killed, and this kernel keeps no exit codes
			must.Eq(n.t, 7, result.ExitCode)
		}
		must.Eq(n.t, "up\nlast\n", tk.logged("stdout"))
	})
	n.within("destroy", func() { must.NoError(n.t, n.DestroyTask(tk.ID, true)) })
	other.checkUnharmed()
}

// TestFrozenHelper_Runtime checks that a frozen runtime fails only calls that need it, within their
// bounds.
func TestFrozenHelper_Runtime(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		other := n.startBystander()
		tk := n.newTask("", "app", sh("exec sleep 600"), quiet)
		tk.start()
		thaw := n.freezeRuntime(tk.AllocID)
		n.within("a command", func() {
			_, err := n.ExecTask(tk.ID, []string{"/bin/true"}, time.Second)
			must.ErrorContains(t, err, "deadline exceeded")
		})
		n.within("stop", func() { must.NoError(t, n.StopTask(tk.ID, time.Second, "SIGKILL")) })
		n.within("a start in another pod", func() { n.checkStarts(sh("exit 0")) })
		other.checkUnharmed()
		thaw()
		n.within("destroy", func() { must.NoError(t, n.DestroyTask(tk.ID, true)) })
	})
}

// TestFrozenHelper_Pull freezes the pull process while its registry stalls and checks that only
// this start fails, at its deadline, and that tasks without a pull start meanwhile.
func TestFrozenHelper_Pull(t *testing.T) {
	cached := pushed(t, insecureRegistry(t)+"/scratch:v1")
	asked, ended := make(chan struct{}, 100), make(chan struct{})
	cachedAt, _, _ := strings.Cut(cached, "/")
	stalled := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-ended
	}))
	end := sync.OnceFunc(func() {
		close(ended)
		stalled.Close()
	})
	t.Cleanup(end)
	at := strings.TrimPrefix(stalled.URL, "http://")
	trustWithoutTLS(t, at, cachedAt)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.Image.PullTimeout = runtime, (frozenBound / 2).String()
		})
		image := driver.TaskConfig{Image: cached, Entrypoint: []string{"/init", "-V"}}
		n.checkStarts(image)
		other := n.startBystander()
		refused := make(chan error, 1)
		tk := n.newTask("", "app", driver.TaskConfig{Image: at + "/scratch:v1"}, quiet)
		go func() {
			_, _, err := n.StartTask(tk.TaskConfig)
			refused <- err
		}()
		<-asked
		freezeForTest(t, pullProcess(t))
		n.within("a start with a cached image", func() { n.checkStarts(image) })
		n.within("a start without an image", func() { n.checkStarts(sh("exit 0")) })
		other.checkUnharmed()
		select {
		case err := <-refused:
			must.ErrorContains(t, err, "pull")
		case <-time.After(maxWait + 2*frozenBound):
			t.Fatal("start with a frozen pull did not end at its deadline")
		}
		end() // its connection would fail the leak check
	})
}

// pullProcess returns the process that this process started to pull an image.
func pullProcess(t *testing.T) int {
	t.Helper()
	all, err := procfs.AllProcs()
	must.NoError(t, err)
	for _, p := range all {
		args, _ := p.CmdLine() // empty if it has exited
		if stat, err := p.Stat(); err == nil && stat.PPID == os.Getpid() && len(args) > 0 && args[0] == "pod-image-pull" {
			return p.PID
		}
	}
	t.Fatal("no pull process")
	return 0
}

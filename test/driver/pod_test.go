package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func ready(c driver.TaskConfig, r driver.ReadyConfig) driver.TaskConfig {
	if r.Interval == "" {
		r.Interval = "20ms"
	}
	if r.Timeout == "" {
		r.Timeout = maxWait.String()
	}
	c.Ready = &r
	return c
}

// serve is a script that answers every connection to a port on loopback.
const serve = `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1:%d", ReuseAddr => 1) or die; while ($c = $s->accept) { <$c>; print $c "HTTP/1.0 %s\r\nContent-Length: 0\r\n\r\n"; close $c }'`

// TestReady_StartWaits checks that a start returns when the check passes, and not earlier.
func TestReady_StartWaits(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		slow := func(then string) driver.TaskConfig {
			return sh("until [ -e /alloc/go ]; do sleep 0.02; done; " + then)
		}
		for name, config := range map[string]driver.TaskConfig{
			"file": ready(slow("touch /tmp/up; exec sleep 600"), driver.ReadyConfig{File: "/tmp/up"}),
			"exec": ready(slow("touch /tmp/up; exec sleep 600"), driver.ReadyConfig{Exec: []string{"/bin/sh", "-c", "test -e /tmp/up"}}),
			"tcp":  ready(slow(fmt.Sprintf(serve, 18471, "200 OK")), driver.ReadyConfig{TCP: "127.0.0.1:18471"}),
			"http": ready(slow(fmt.Sprintf(serve, 18472, "204 No")), driver.ReadyConfig{HTTP: "http://localhost:18472/x"}),
		} {
			t.Run(name, func(t *testing.T) {
				tk := n.newTask("", name, config, nil)
				started := make(chan struct{})
				go func() {
					defer close(started)
					tk.start()
				}()
				n.waitFor("the task to run", func() bool {
					found, _ := filepath.Glob(filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", "*", "pid"))
					return len(found) == 1
				})
				select {
				case <-started:
					t.Fatal("start returned before the task was ready")
				case <-time.After(200 * time.Millisecond):
				}
				must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().SharedAllocDir, "go"), nil, 0o644))
				<-started
			})
		}
	})
}

// TestReady_Timeout checks that a check that never passes fails the start within its timeout and
// leaves nothing behind.
func TestReady_Timeout(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for name, tc := range map[string]struct {
			config driver.TaskConfig
			want   string
		}{
			"timeout": {ready(sh("exec sleep 600"), driver.ReadyConfig{File: "/never", Timeout: "300ms"}), "file /never did not pass within 300ms: no such file or directory"},
			"ended":   {ready(sh("exit 7"), driver.ReadyConfig{File: "/never"}), "ended before it was ready: exit code 7"},
			"status": {ready(sh(fmt.Sprintf(serve, 18473, "503 Busy")), driver.ReadyConfig{HTTP: "http://127.0.0.1:18473", Timeout: testtimeout.Scale(time.Second).String()}),
				"status 503"},
			"exec": {ready(sh("exec sleep 600"), driver.ReadyConfig{Exec: []string{"/bin/sh", "-c", "echo too early; exit 3"}, Timeout: testtimeout.Scale(time.Second).String()}),
				"exit code 3: too early"},
		} {
			t.Run(name, func(t *testing.T) {
				tk := n.newTask("", name, tc.config, nil)
				_, _, err := n.StartTask(tk.TaskConfig)
				must.ErrorContains(t, err, tc.want)
				_, err = n.InspectTask(tk.ID)
				must.ErrorContains(t, err, "not found")
			})
		}
	})
}

// TestAfter_StartAndStopOrder checks that config, proxy and app start in this order and stop in
// reverse.
func TestAfter_StartAndStopOrder(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		note := func(name string, after ...string) driver.TaskConfig {
			c := sh(fmt.Sprintf("trap 'sleep 0.2; echo stop %[1]s >> /alloc/data/order; exit 0' TERM; sleep 0.2; echo start %[1]s >> /alloc/data/order; touch /tmp/up; while :; do sleep 0.05; done", name))
			c.After = after
			return ready(c, driver.ReadyConfig{File: "/tmp/up"})
		}
		tasks := []*task{
			n.newTask(alloc, "app", note("app", "proxy"), nil),
			n.newTask(alloc, "proxy", note("proxy", "config"), nil),
			n.newTask(alloc, "config", note("config"), nil),
		}
		all := func(f func(tk *task)) {
			var wg sync.WaitGroup
			for _, tk := range tasks {
				wg.Go(func() { f(tk) })
			}
			wg.Wait()
		}
		all(func(tk *task) { tk.start() })
		all(func(tk *task) { must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM")) })
		b, err := os.ReadFile(filepath.Join(tasks[0].TaskDir().SharedAllocDir, "data", "order"))
		must.NoError(t, err)
		must.Eq(t, "start config\nstart proxy\nstart app\nstop app\nstop proxy\nstop config\n", string(b))
	})
}

func TestAfter_Cycle(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		after := func(name string) driver.TaskConfig {
			c := sh("exit 0")
			c.After = []string{name}
			return c
		}
		errs := make(chan error, 2)
		for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
			tk := n.newTask(alloc, pair[0], after(pair[1]), nil)
			go func() {
				_, _, err := n.StartTask(tk.TaskConfig)
				errs <- err
			}()
		}
		for range 2 {
			must.ErrorContains(t, <-errs, "tasks wait for each other")
		}
		_, _, err := n.StartTask(n.newTask("", "self", after("self"), nil).TaskConfig)
		must.ErrorContains(t, err, "cannot come after itself")
	})
}

func TestPreStop_BeforeSignal(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("trap 'cat /tmp/pre; exit 0' TERM; echo up; while :; do sleep 0.05; done")
		config.PreStop = &driver.PreStopConfig{Command: "/bin/sh", Args: []string{"-c", "echo drained > /tmp/pre"}, Timeout: testtimeout.Scale(10 * time.Second).String()}
		tk := n.newTask("", "web", config, nil)
		tk.start()
		tk.output("stdout", contains("up"))
		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM"))
		tk.wait()
		tk.output("stdout", contains("drained"))
	})
}

func TestPodVolume_Shared(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		with := func(size string, readonly bool) driver.TaskConfig {
			c := sh("exec sleep 600")
			c.PodVolumes = map[string]driver.VolumeConfig{"scratch": {Target: "/scratch", Size: size, Readonly: readonly}}
			return c
		}
		writer := n.newTask(alloc, "writer", with("8m", false), nil)
		reader := n.newTask(alloc, "reader", with("", true), nil)
		other := n.newTask("", "other", with("", false), nil)
		for _, tk := range []*task{writer, reader, other} {
			tk.start()
		}
		writer.exec("echo hello > /scratch/file")
		must.Eq(t, "hello\n", reader.exec("cat /scratch/file"))
		must.Eq(t, "no\n", reader.exec("touch /scratch/x 2>/dev/null || echo no"))
		must.Eq(t, "no\n", other.exec("cat /scratch/file 2>/dev/null || echo no"))
		must.StrContains(t, writer.exec("grep ' /scratch ' /proc/self/mountinfo"), " tmpfs ")
		must.Eq(t, "8192\n", writer.exec("df -k --output=size /scratch | tail -n 1 | tr -d ' '"))
		must.Eq(t, "full\n", writer.exec("head -c 9000000 /dev/zero > /scratch/big 2>/dev/null || echo full"))

		_, _, err := n.StartTask(n.newTask(alloc, "contrary", with("16m", false), nil).TaskConfig)
		must.ErrorContains(t, err, `pod_volume "scratch"`)
		must.ErrorContains(t, err, "same size")
	})
}

func TestSharedMemory_Size(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		config := sh("exec sleep 600")
		a := n.newTask(alloc, "a", config, nil)
		config.ShmSize = "100m"
		b := n.newTask(alloc, "b", config, nil)
		config.Share = []string{}
		own := n.newTask(alloc, "own", config, nil)
		a.start()
		b.start()
		own.start()
		for _, tk := range []*task{a, b, own} {
			must.Eq(t, "102400\n", tk.exec("df -k --output=size /dev/shm | tail -n 1 | tr -d ' '"))
		}
	})
}

// Trap D10: in a shared PID namespace, orphans are reaped.
func TestPod_ReapsOrphans(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; echo done; exec sleep 600")
		config.Share = []string{"pid"}
		tk := n.newTask("", "forks", config, nil)
		tk.start()
		tk.output("stdout", contains("done"))
		n.waitFor("the orphans to be reaped", func() bool {
			return strings.TrimSpace(tk.exec("ps -eo stat | grep -c Z || true")) == "0"
		})
	})
}

// TestSweep_RemovesUnrecoveredTasks checks that tasks are removed if Nomad does not recover them,
// for example after it has lost its state.
func TestSweep_RemovesUnrecoveredTasks(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "lost", sh("exec sleep 600"), nil)
		_, _, err := n.StartTask(tk.TaskConfig)
		must.NoError(t, err)
		n.abandon()

		v, err := cgroup.Detect()
		must.NoError(t, err)
		m := pod.New(pod.Config{
			RunDir: n.config.RunDir, DataDir: n.config.DataDir, Cgroups: v, DanglingAfter: time.Millisecond,
			Runtime: ociruntime.Runtime{Path: runtime, StateDir: filepath.Join(n.config.RunDir, "runtime")},
		})
		_, err = m.Recover(t.Context(), uuid.Generate(), "x", "y")
		must.ErrorIs(t, err, pod.ErrNotFound)
		n.waitFor("the task to be removed", func() bool {
			found, _ := filepath.Glob(filepath.Join(n.config.RunDir, "pods", "*"))
			return len(found) == 0
		})
		must.NoError(t, m.Close())
		n.start()
	})
}

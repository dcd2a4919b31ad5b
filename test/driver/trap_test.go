package driver_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/moby/sys/mountinfo"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// hog is a command that allocates more memory than the task may use.
const hog = `awk 'BEGIN { x = "a"; while (1) x = x x }'`

// Trap D12: an OOM kill of the task, an OOM kill of a child, and a kill from outside, also after an
// OOM kill of a child, have different results.
func TestExit_OutOfMemory(t *testing.T) {
	kill := drivers.ExitResult{ExitCode: 137, Signal: int(syscall.SIGKILL)}
	oom := kill
	oom.OOMKilled = true
	const idleScript = "echo up; while :; do sleep 0.05; done"
	for name, tc := range map[string]struct {
		script string
		event  bool // an event reports the OOM kill of a child while the task continues
		late   bool // an event reports it after the task has exited
		kill   bool // the test kills the task
		want   drivers.ExitResult
	}{
		"the task":                   {script: "exec " + hog, want: oom},
		"a child":                    {script: hog + "; until [ -e /alloc/go ]; do sleep 0.05; done; exit 5", event: true, want: drivers.ExitResult{ExitCode: 5}},
		"a child that ends the task": {script: hog + "; exit 9", late: true, want: drivers.ExitResult{ExitCode: 9}},
		"a kill from outside":        {script: idleScript, kill: true, want: kill},
		"a child and from outside":   {script: hog + "; " + idleScript, event: true, kill: true, want: kill},
		"a child and then the task":  {script: hog + "; until [ -e /alloc/go ]; do sleep 0.05; done; exec " + hog, event: true, want: oom},
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
				tk := n.newTask("", "hungry", sh(tc.script), nil)
				events := n.watchEvents()
				tk.start()
				if tc.event {
					tk.readStats(func() bool {
						return strings.Contains(events(), "Out of memory: the kernel killed a process of the task")
					})
				}
				must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().SharedAllocDir, "go"), nil, 0o644))
				if tc.kill {
					tk.output("stdout", contains("up"))
					must.NoError(t, n.SignalTask(tk.ID, "SIGKILL"))
				}
				got := *tk.wait()
				if tc.want.OOMKilled {
					must.EqError(t, got.Err, "OOM Killed")
					got.Err = nil
				}
				must.Eq(t, tc.want, got)
				if tc.late {
					n.waitFor("the event", func() bool {
						return strings.Contains(events(), "Out of memory: the kernel killed a process of the task, which then ended")
					})
				}
			})
		})
	}
}

// watchEvents collects the driver's task events until the test ends.
func (n *node) watchEvents() (all func() string) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	ch, err := n.impl.TaskEvents(ctx)
	must.NoError(n.t, err)
	var mu sync.Mutex
	var text strings.Builder
	var collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case e := <-ch:
				mu.Lock()
				text.WriteString(e.TaskName + ": " + e.Message + "\n")
				mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	})
	n.t.Cleanup(func() { cancel(); collector.Wait() })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
}

// readStats reads the task's statistics continuously, as Nomad does, until enough returns true.
func (tk *task) readStats(enough func() bool) {
	tk.n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	ch, err := tk.n.TaskStats(ctx, tk.ID, 50*time.Millisecond)
	must.NoError(tk.n.t, err)
	for !enough() {
		if _, more := <-ch; !more {
			tk.n.t.Fatal("the statistics ended before enough was known")
		}
	}
}

// Trap D19 (nomad#7848, nomad#28467): all mounts of a task are gone after its removal, and the
// pod's mounts after the pod's.
func TestDestroy_RemovesMounts(t *testing.T) {
	reference := testimage.Layout(t, t.TempDir(), testimage.New(t))
	host := t.TempDir()
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		config := driver.TaskConfig{
			Image: reference, Args: []string{"-P"}, Share: []string{"ipc", "uts", "pid"},
			Volumes: []string{"local/dir:/dir", host + ":/host:rshared"}, Tmpfs: []string{"/run"},
			PodVolumes: map[string]driver.VolumeConfig{"scratch": {Target: "/scratch"}},
		}
		tasks := []*task{
			n.newTask("", "image", config, func(c *drivers.TaskConfig) {
				quiet(c)
				c.Mounts = []*drivers.MountConfig{{HostPath: host, TaskPath: "/volume", PropagationMode: "bidirectional"}}
			}),
			n.newTask("", "host", sh("exec sleep 600"), quiet),
		}
		before := mountPoints(t)
		for _, tk := range tasks {
			_, _, err := n.StartTask(tk.TaskConfig)
			must.NoError(t, err)
		}
		// A mount outside of the driver's directories would hide a path of the host, such as
		// /sys/fs/cgroup, from tasks that share their mounts with the host.
		during := mountPoints(t)
		must.Greater(t, len(before)+3, len(during))
		for _, point := range during {
			own := strings.HasPrefix(point, n.config.RunDir+"/") || strings.HasPrefix(point, n.config.DataDir+"/")
			must.True(t, own || slices.Contains(before, point), must.Sprint(point))
		}
		for _, tk := range tasks {
			must.NoError(t, n.DestroyTask(tk.ID, true))
		}
		n.waitFor("the pods to be removed", func() bool { return slices.Equal(before, mountPoints(t)) })
	})
}

// mountPoints returns the mount points of the test's mount namespace, which is the host's.
func mountPoints(t *testing.T) []string {
	t.Helper()
	infos, err := mountinfo.GetMounts(nil)
	must.NoError(t, err)
	var all []string
	for _, m := range infos {
		all = append(all, m.Mountpoint)
	}
	slices.Sort(all)
	return all
}

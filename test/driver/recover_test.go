package driver_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestRecover_RunningTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "web", sh("trap 'exit 6' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"), nil)
		handle := tk.start()
		before, err := n.InspectTask(tk.ID)
		must.NoError(t, err)

		n.abandon()
		n.start()
		must.ErrorContains(t, n.StopTask(tk.ID, maxWait, ""), drivers.ErrTaskNotFound.Error())
		must.NoError(t, n.RecoverTask(handle))
		must.NoError(t, n.RecoverTask(handle), must.Sprint("second recovery"))
		after, err := n.InspectTask(tk.ID)
		must.NoError(t, err)
		must.Eq(t, drivers.TaskStateRunning, after.State)
		must.Eq(t, before.DriverAttributes["pid"], after.DriverAttributes["pid"])
		must.Eq(t, "ok\n", tk.exec("echo ok"))

		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM"))
		must.Eq(t, drivers.ExitResult{ExitCode: 6}, *tk.wait())
		lines := strings.Fields(strings.ReplaceAll(tk.output("stdout", contains("line 2\n")), "line ", ""))
		for i, l := range lines {
			must.Eq(t, strconv.Itoa(i+1), l, must.Sprint("number of the next line"))
		}
	})
}

// Trap D11: the exit code of a task that ended while no plugin was running.
func TestRecover_ExitCodeOfEndedTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "batch", sh("until [ -e /alloc/go ]; do sleep 0.01; done; exit 7"), nil)
		handle := tk.start()
		n.abandon()
		must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().SharedAllocDir, "go"), nil, 0o644))
		exit := filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", "*", "exit")
		n.waitFor("the end of the task", func() bool {
			found, _ := filepath.Glob(exit)
			return len(found) == 1
		})
		n.start()
		must.NoError(t, n.RecoverTask(handle))
		must.Eq(t, drivers.ExitResult{ExitCode: 7}, *tk.wait())
	})
}

// Trap D11: a task is killed if its monitor dies, since its end would go unnoticed.
func TestMonitor_DeathEndsTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		pids, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", "*", "conmon.pid"))
		must.NoError(t, err)
		must.Len(t, 1, pids)
		b, err := os.ReadFile(pids[0])
		must.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		must.NoError(t, err)
		must.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		must.ErrorContains(t, tk.wait().Err, "monitor (conmon")
	})
}

// Trap D15: the death of the infra process ends the tasks, with the reason in their results.
func TestPod_InfraProcessKilled(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("echo up; exec sleep 600")
		config.Share = []string{"ipc", "uts", "pid"}
		tk := n.newTask("", "a", config, nil)
		tk.start()
		tk.output("stdout", contains("up"))
		b, err := os.ReadFile(filepath.Join(n.config.RunDir, "pods", tk.AllocID, "holder", "pid"))
		must.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		must.NoError(t, err)
		must.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		res := tk.wait()
		must.ErrorContains(t, res.Err, "the pod's infra process")
		must.Eq(t, int(syscall.SIGKILL), res.Signal)
	})
}

// Trap D15: the pod is kept between one task and the next.
func TestPod_LingersBetweenTasks(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.PodLinger = runtime, testtimeout.Scale(time.Second).String()
		})
		alloc := uuid.Generate()
		first := n.newTask(alloc, "prestart", sh("echo kept > /dev/shm/file"), nil)
		first.start()
		must.True(t, first.wait().Successful())
		must.NoError(t, n.DestroyTask(first.ID, false))
		main := n.newTask(alloc, "main", sh("cat /dev/shm/file"), nil)
		main.start()
		main.wait()
		main.output("stdout", contains("kept\n"))
	})
}

// Trap D15: a new driver removes leftovers of an earlier one even if it never gets a task.
func TestSweep_RemovesEmptyPods(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.PodLinger = runtime, "1h" })
		config := sh("exit 0")
		config.Share = []string{"ipc", "uts", "pid"}
		tk := n.newTask("", "gone", config, nil)
		tk.start()
		tk.wait()
		must.NoError(t, n.DestroyTask(tk.ID, false))
		pod := filepath.Join(n.config.RunDir, "pods", tk.AllocID)
		_, err := os.Stat(pod)
		must.NoError(t, err)
		n.abandon()

		n.config.PodLinger = "0s"
		n.start()
		n.fingerprint()
		n.waitFor("the old pod to be removed", func() bool {
			_, err := os.Stat(pod)
			return os.IsNotExist(err)
		})
	})
}

// TestProbe_InterruptedIsRemoved checks that the next plugin removes the container and the log of a
// probe during which the plugin was killed.
func TestProbe_InterruptedIsRemoved(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		v, err := cgroup.Detect()
		must.NoError(t, err)
		group := cgroup.At(v, fmt.Sprintf("/nomad-driver-pod/probe-%d", os.Getpid()))
		dir := filepath.Join(n.config.RunDir, filepath.Base(group.Path()))
		log := filepath.Join(n.config.RunDir, "runtime-1.log")
		must.NoError(t, os.MkdirAll(filepath.Join(dir, "runtime", "container"), 0o700))
		must.NoError(t, os.WriteFile(log, nil, 0o600))
		waiting := exec.Command("sleep", "600")
		must.NoError(t, waiting.Start())
		must.NoError(t, group.Add(waiting.Process.Pid))
		old := time.Now().Add(-24 * time.Hour) // before this process started
		for _, path := range []string{dir, log} {
			must.NoError(t, os.Chtimes(path, old, old))
		}

		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		must.ErrorContains(t, waiting.Wait(), "killed")
		must.False(t, group.Exists())
		for _, path := range []string{dir, log} {
			_, err := os.Stat(path)
			must.ErrorIs(t, err, os.ErrNotExist)
		}
	})
}

// TestProbe_LeavesNothing checks that a failed or interrupted probe of a runtime leaves nothing,
// even if the runtime has lost track of the container.
func TestProbe_LeavesNothing(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		half := filepath.Join(t.TempDir(), filepath.Base(runtime))
		script := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *' create '*) %[1]s \"$@\"; exit 1 ;; *' delete '*) exit 0 ;; esac\nexec %[1]s \"$@\"\n", runtime)
		must.NoError(t, os.WriteFile(half, []byte(script), 0o755))
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = half })
		must.NotEq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		left, err := filepath.Glob(filepath.Join(n.config.RunDir, "probe-*"))
		must.NoError(t, err)
		must.SliceEmpty(t, left)
	})
}

// TestRecover_RuntimeChanged checks that the node need not be drained to change the runtime:
// existing containers continue, accept commands while their runtime is installed, and can be
// removed.
func TestRecover_RuntimeChanged(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		other := map[string]string{"crun": "runc", "runc": "crun"}[filepath.Base(runtime)]
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done")
		config.Share = []string{"ipc", "uts", "pid"}
		tk := n.newTask("", "web", config, nil)
		handle := tk.start()
		tk.output("stdout", contains("up"))
		n.abandon()

		n.config.Runtime = matrix.Command(t, other)
		n.start()
		must.NoError(t, n.RecoverTask(handle))
		must.Eq(t, "ok\n", tk.exec("echo ok"))
		late := n.newTask(tk.AllocID, "late", config, nil)
		late.start()
		late.output("stdout", contains("up"))
		n.waitFor("one pod", func() bool { // a forked child shares the command line until it executes sleep
			return late.exec("pgrep -c -f 'exi[t] 6'") == "2\n"
		})
		must.NoError(t, os.Remove(n.programs.runtime)) // stop and removal must not need it
		for _, tk := range []*task{tk, late} {
			must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM"))
			must.Eq(t, drivers.ExitResult{ExitCode: 6}, *tk.wait())
			must.NoError(t, n.DestroyTask(tk.ID, false))
		}
	})
}

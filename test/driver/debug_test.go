package driver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

func debugged(t *testing.T, runtime string, config driver.TaskConfig) *task {
	t.Helper()
	return debuggedWith(t, config, func(c *driver.PluginConfig) { c.Runtime, c.AllowCaps = runtime, []string{"all"} })
}

func debuggedWith(t *testing.T, config driver.TaskConfig, change func(*driver.PluginConfig)) *task {
	t.Helper()
	n := newNode(t, func(c *driver.PluginConfig) { c.DebugContainers = true; change(c) })
	tk := n.newTask("", "app", config, nil)
	tk.start()
	tk.output("stdout", contains("up"))
	return tk
}

// debugExec runs a command in a debug container of the task.
func (tk *task) debugExec(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	c := newClient(ctx)
	close(c.send)
	err := tk.stream(c, false, append([]string{"pod-debug"}, words...)...)
	if err == nil && c.code != 0 {
		err = errors.New(c.stdout.String() + c.stderr.String())
	}
	return c.stdout.String(), err
}

// debugContainers lists the files of the task's debug containers.
func (tk *task) debugContainers() []string {
	tk.n.t.Helper()
	var found []string
	for _, pattern := range []string{
		filepath.Join(tk.n.config.RunDir, "pods", "*", "tasks", "*", "debug-*"),
		filepath.Join(tk.n.config.RunDir, "runtime", "*.debug-*"),
		filepath.Join(tk.n.config.DataDir, "roots", "*.debug-*"),
	} {
		paths, err := filepath.Glob(pattern)
		must.NoError(tk.n.t, err)
		found = append(found, paths...)
	}
	return found
}

const waitScript = "trap 'exit 0' TERM; echo from the task >/tmp/note; echo up; while :; do sleep 1; done"

// TestDebug_SeesTask checks that a debug container has the task's processes, files, host name and
// network, brings its own programs, and leaves nothing behind.
func TestDebug_SeesTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		tk := debugged(t, runtime, sh(waitScript))
		for ns, same := range map[string]bool{"pid": true, "net": true, "ipc": true, "uts": true, "mnt": false} {
			link := "readlink /proc/self/ns/" + ns
			got, err := tk.debugExec("/bin/sh", "-c", link)
			must.NoError(t, err)
			must.Eq(t, same, got == tk.exec(link), must.Sprint(ns))
		}
		out, err := tk.debugExec("/bin/sh", "-c", "cat $POD_TASK_ROOT/tmp/note; tr '\\0' ' ' </proc/$POD_TASK_PID/cmdline; ls /tmp; id -u")
		must.NoError(t, err)
		must.StrContains(t, out, "from the task")
		must.StrContains(t, out, "sleep 1; done")
		must.StrHasSuffix(t, " 0\n", out, must.Sprint("its own empty /tmp, and UID 0"))
		_, err = tk.debugExec("/bin/sh", "-c", "echo no; exit 3")
		must.EqError(t, err, "no\n")
		must.SliceEmpty(t, tk.debugContainers())
		must.Eq(t, "alive\n", tk.exec("echo alive"))
	})
}

// TestDebug_Image checks that the programs can come from an image.
func TestDebug_Image(t *testing.T) {
	layout := testimage.Layout(t, t.TempDir(), scratch(t))
	withOneRuntime(t, func(t *testing.T, runtime string) {
		tk := debugged(t, runtime, sh(waitScript))
		out, err := tk.debugExec("-image", layout, "/init", "--version")
		must.NoError(t, err)
		must.StrContains(t, out, "tini version")
		must.SliceEmpty(t, tk.debugContainers())
	})
}

func TestDebug_EndsWithTaskOrClient(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		config := sh(waitScript)
		config.Share = []string{"pid"}
		tk := debugged(t, runtime, config)
		session := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() { done <- tk.stream(newClient(ctx), true, "pod-debug", "/bin/sleep", "434343") }()
			tk.n.waitFor("the command to run", func() bool { return strings.Contains(tk.exec("ps -eo args"), "sleep 434343") })
			return done
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := session(ctx)
		cancel()
		must.ErrorIs(t, <-done, context.Canceled)
		must.SliceEmpty(t, tk.debugContainers())

		ctx, cancel = context.WithCancel(context.Background())
		defer cancel()
		done = session(ctx)
		must.NoError(t, tk.n.DestroyTask(tk.ID, true))
		<-done // any error
		must.SliceEmpty(t, tk.debugContainers())
		_, err := tk.debugExec("/bin/true")
		must.ErrorContains(t, err, "not found")
	})
}

func TestDebug_InvalidCommands(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		_, err := tk.debugExec("/bin/true")
		must.ErrorContains(t, err, "debug_containers = true")
		tk = debugged(t, runtime, sh(waitScript))
		for _, tc := range []struct{ words, want string }{
			{"-image", "flag needs an argument"},
			{"-tools x", "flag provided but not defined: -tools"},
			{"-image oci:relative sh", "the path must be absolute"},
			{"-image oci:/no/such sh", "/no/such"},
			{"/no/such/program", "/no/such/program"},
		} {
			_, err := tk.debugExec(strings.Fields(tc.words)...)
			must.ErrorContains(t, err, tc.want)
			must.SliceEmpty(t, tk.debugContainers())
		}
	})
}

// TestDebug_WithinAllowCaps checks that a debug container has only capabilities that the operator
// allows, and without CAP_SYS_PTRACE runs as the task's user and can read the task's files.
func TestDebug_WithinAllowCaps(t *testing.T) {
	const script = "id -u; grep CapEff /proc/self/status; grep CapBnd /proc/self/status; cat $POD_TASK_ROOT/tmp/note"
	withRuntimes(t, func(t *testing.T, runtime string) {
		for want, allow := range map[string][]string{
			"65534\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80405fb\nfrom the task\n": nil,
			"65534\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000001\nfrom the task\n": {"chown"},
			"0\nCapEff:\t0000000000080001\nCapBnd:\t0000000000080001\nfrom the task\n":     {"chown", "sys_ptrace"},
		} {
			t.Run(strings.Join(allow, "+"), func(t *testing.T) {
				tk := debuggedWith(t, sh(waitScript), func(c *driver.PluginConfig) { c.Runtime, c.AllowCaps = runtime, allow })
				out, err := tk.debugExec("/bin/sh", "-c", script)
				must.NoError(t, err)
				must.Eq(t, want, out)
			})
		}
	})
}

// TestDebug_HostNamespaces checks that a debug container joins no namespace of the host except the
// network, which every job may use.
func TestDebug_HostNamespaces(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		allow := func(c *driver.PluginConfig) { c.Runtime, c.AllowHostNamespaces = runtime, true }
		config := sh(waitScript)
		config.IPCMode, config.UTSMode = "host", "host"
		tk := debuggedWith(t, config, allow)
		for _, ns := range []string{"ipc", "uts", "pid"} {
			got, err := tk.debugExec("/usr/bin/readlink", "/proc/self/ns/"+ns)
			must.NoError(t, err)
			host, err := os.Readlink("/proc/self/ns/" + ns)
			must.NoError(t, err)
			must.NotEq(t, host, strings.TrimSpace(got), must.Sprint(ns))
		}
		config = sh("exec sleep 600")
		config.PidMode = "host"
		tk = tk.n.newTask("", "host", config, quiet)
		tk.start()
		_, err := tk.debugExec("/bin/true")
		must.ErrorContains(t, err, "leave pid_mode out of the task")
		must.SliceEmpty(t, tk.debugContainers())
	})
}

// The number of debug containers is bounded, and each has its own limits.
func TestDebug_Bounds(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		config := sh(waitScript)
		config.Share = []string{"pid"}
		tk := debugged(t, runtime, config)
		second := tk.n.newTask("", "second", sh("exec sleep 600"), quiet)
		second.start()
		third := tk.n.newTask("", "third", sh("exec sleep 600"), quiet)
		third.start()
		ctx, cancel := context.WithCancel(context.Background())
		var sessions sync.WaitGroup
		open := func(tk *task, count int) {
			for range count {
				sessions.Go(func() { _ = tk.stream(newClient(ctx), false, "pod-debug", "/bin/sleep", "434344") })
			}
		}
		open(tk, 4)
		open(second, 4)
		tk.n.waitFor("the commands to run", func() bool { return leakcheck.Running(t, "434344\x00") == 8 })
		_, err := tk.debugExec("/bin/true")
		must.ErrorContains(t, err, "the task has the maximum of 4 debug containers")
		_, err = third.debugExec("/bin/true")
		must.ErrorContains(t, err, "this node has the maximum of 8 debug containers")
		group := filepath.Join(cgroup.Root, "pids/nomad-driver-pod", tk.AllocID, "*.debug-*/pids.max")
		if v, err := cgroup.Detect(); err == nil && v == cgroup.V2 {
			group = filepath.Join(cgroup.Root, "nomad-driver-pod", tk.AllocID, "*.debug-*/pids.max")
		}
		files, err := filepath.Glob(group)
		must.NoError(t, err)
		must.SliceLen(t, 4, files)
		for _, file := range files {
			most, err := os.ReadFile(file)
			must.NoError(t, err)
			must.Eq(t, "512\n", string(most))
		}
		cancel()
		sessions.Wait()
		_, err = tk.debugExec("/bin/true")
		must.NoError(t, err)
		must.SliceEmpty(t, tk.debugContainers())
	})
}

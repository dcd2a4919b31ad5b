package driver_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/fixture"
)

func debugged(t *testing.T, runtime string, config driver.TaskConfig) *task {
	t.Helper()
	n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.DebugContainers = runtime, true })
	tk := n.newTask("", "app", config, nil)
	tk.start()
	tk.output("stdout", contains("up"))
	return tk
}

// beside runs a script in a container beside the task.
func (tk *task) beside(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := newClient(ctx)
	close(c.send)
	err := tk.stream(c, false, append([]string{"pod-debug"}, words...)...)
	if err == nil && c.code != 0 {
		err = errors.New(c.stdout.String())
	}
	return c.stdout.String(), err
}

// debugContainers lists what the driver keeps of containers beside the task.
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

const waits = "trap 'exit 0' TERM; echo from the task >/tmp/note; echo up; while :; do sleep 1; done"

// A container beside a task sees its processes, files, host name and network,
// has tools of its own, and leaves nothing.
func TestADebugContainerSeesTheTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		tk := debugged(t, runtime, sh(waits))
		for ns, same := range map[string]bool{"pid": true, "net": true, "ipc": true, "uts": true, "mnt": false} {
			link := "readlink /proc/self/ns/" + ns
			seen, err := tk.beside("/bin/sh", "-c", link)
			must.NoError(t, err)
			must.Eq(t, same, seen == tk.exec(link), must.Sprint(ns))
		}
		out, err := tk.beside("/bin/sh", "-c", "cat $POD_TASK_ROOT/tmp/note; tr '\\0' ' ' </proc/$POD_TASK_PID/cmdline; ls /tmp; id -u")
		must.NoError(t, err)
		must.StrContains(t, out, "from the task")
		must.StrContains(t, out, "sleep 1; done")
		must.StrHasSuffix(t, " 0\n", out, must.Sprint("nothing is in its own /tmp, and it is root"))
		_, err = tk.beside("/bin/sh", "-c", "echo no; exit 3")
		must.EqError(t, err, "no\n")
		must.SliceEmpty(t, tk.debugContainers())
		must.Eq(t, "alive\n", tk.exec("echo alive"))
	})
}

// The tools may come from an image, where the task has none.
func TestADebugContainerFromAnImage(t *testing.T) {
	layout := fixture.Layout(t, t.TempDir(), scratch(t))
	withOneRuntime(t, func(t *testing.T, runtime string) {
		tk := debugged(t, runtime, sh(waits))
		out, err := tk.beside("-image", layout, "/init", "--version")
		must.NoError(t, err)
		must.StrContains(t, out, "tini version")
		must.SliceEmpty(t, tk.debugContainers())
	})
}

func TestADebugContainerEndsWithItsTaskAndItsClient(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		config := sh(waits)
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
		<-done // however it puts it
		must.SliceEmpty(t, tk.debugContainers())
		_, err := tk.beside("/bin/true")
		must.ErrorContains(t, err, "not found")
	})
}

func TestWrongDebugCommands(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		_, err := tk.beside("/bin/true")
		must.ErrorContains(t, err, "debug_containers = true")
		tk = debugged(t, runtime, sh(waits))
		for _, tc := range []struct{ words, want string }{
			{"-image", "flag needs an argument"},
			{"-tools x", "flag provided but not defined: -tools"},
			{"-image oci:relative sh", "the path must be absolute"},
			{"-image oci:/no/such sh", "/no/such"},
			{"/no/such/program", "/no/such/program"},
		} {
			_, err := tk.beside(strings.Fields(tc.words)...)
			must.ErrorContains(t, err, tc.want)
			must.SliceEmpty(t, tk.debugContainers())
		}
	})
}

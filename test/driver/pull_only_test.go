package driver_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestPullOnly checks that a task with pull_only stores its images, starts no container, ends with exit
// code 0, and can be asked, signalled and recovered like others.
func TestPullOnly(t *testing.T) {
	host := insecureRegistry(t)
	root, mounted := pushed(t, host+"/root:v1"), host+"/mounted:v1"
	pushedLarge(t, mounted, 1<<20)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := driver.TaskConfig{PullOnly: true, Image: root, Mounts: []driver.MountConfig{imageMount(mounted, "", "/image")}}
		tk := n.newTask("", "pull", config, nil)
		handle := tk.start()
		must.Eq(t, drivers.ExitResult{}, *tk.wait())
		status, err := n.InspectTask(tk.ID)
		must.NoError(t, err)
		must.Eq(t, drivers.TaskStateExited, status.State)
		must.StrContains(t, status.DriverAttributes["images"], mounted)
		must.NoError(t, n.StopTask(tk.ID, time.Second, "SIGTERM"))
		must.ErrorContains(t, n.SignalTask(tk.ID, "SIGHUP"), "no process")
		_, err = n.ExecTask(tk.ID, []string{"/bin/true"}, maxWait)
		must.ErrorContains(t, err, "no process")
		_, err = os.Stat(filepath.Join(n.config.RunDir, "pods", tk.AllocID))
		must.ErrorIs(t, err, os.ErrNotExist)

		n.abandon()
		n.start()
		must.NoError(t, n.RecoverTask(handle))
		must.Eq(t, drivers.ExitResult{}, *tk.wait())
		must.NoError(t, n.DestroyTask(tk.ID, false))
		_, err = n.InspectTask(tk.ID)
		must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())

		never := n.newTask("", "run", driver.TaskConfig{Image: root, ImagePullPolicy: "never", Entrypoint: []string{"/init", "--version"}}, nil)
		never.start()
		must.Eq(t, drivers.ExitResult{}, *never.wait())
	})
}

// TestPullOnly_Kept checks that an image that was pulled in advance outlives gc_delay.
func TestPullOnly_Kept(t *testing.T) {
	at := pushed(t, insecureRegistry(t)+"/scratch:v1")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime = runtime
			c.Image.GC, c.Image.GCDelay = true, "1s"
		})
		tk := n.newTask("", "pull", driver.TaskConfig{PullOnly: true, Image: at}, nil)
		tk.start()
		tk.wait()
		must.NoError(t, n.DestroyTask(tk.ID, false))
		deadline := time.Now().Add(3 * time.Second) // enough for several collections
		for time.Now().Before(deadline) {
			found, err := filepath.Glob(filepath.Join(n.config.DataDir, "images", "used", "*"))
			must.NoError(t, err)
			must.SliceLen(t, 1, found)
			time.Sleep(50 * time.Millisecond) // poll interval
		}
	})
}

// TestPullOnly_Fails checks that a missing image fails the task with the reason, and that a stop ends a
// pull that hangs.
func TestPullOnly_Fails(t *testing.T) {
	missing := insecureRegistry(t) + "/missing:v1"
	asked := make(chan struct{}, 100)
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(hangs.Close)
	host := strings.TrimPrefix(hangs.URL, "http://")
	trustWithoutTLS(t, host)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "pull", driver.TaskConfig{PullOnly: true, Image: missing}, nil)
		tk.start()
		result := tk.wait()
		must.Eq(t, 1, result.ExitCode)
		must.ErrorContains(t, result.Err, missing)
		must.NoError(t, n.DestroyTask(tk.ID, false))

		tk = n.newTask("", "hangs", driver.TaskConfig{PullOnly: true, Image: host + "/app:v1"}, nil)
		tk.start()
		<-asked
		must.Error(t, n.DestroyTask(tk.ID, false))
		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM"))
		must.Eq(t, 1, tk.wait().ExitCode)

		bad := n.newTask("", "bad", driver.TaskConfig{PullOnly: true, Image: missing, Command: "/bin/sh"}, nil)
		_, _, err := n.StartTask(bad.TaskConfig)
		must.ErrorContains(t, err, "command makes no sense with pull_only = true")
	})
}

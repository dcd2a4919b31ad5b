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

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// partners returns a proxy and an app that restarts with it. Both log their starts and stops.
func partners(n *node, alloc string) (app, proxy *task) {
	note := func(name string) driver.TaskConfig {
		c := sh(fmt.Sprintf("note() { echo $1 %s >> /alloc/data/order; }; trap 'note stop; exit 0' TERM USR1; note start; touch /tmp/up; until [ -e /alloc/crash-%[1]s ]; do sleep 0.02; done; rm /alloc/crash-%[1]s; exit 3", name))
		c.KillSignal, c.KillTimeout = "SIGUSR1", maxWait.String()
		return ready(c, driver.ReadyConfig{File: "/tmp/up"})
	}
	config := note("app")
	config.RestartWith = []string{"proxy"}
	return n.newTask(alloc, "app", config, quiet), n.newTask(alloc, "proxy", note("proxy"), quiet)
}

// startPartners starts an app, whose start waits for its proxy, and the proxy.
func startPartners(n *node, alloc string) (app, proxy *task, handles []*drivers.TaskHandle) {
	app, proxy = partners(n, alloc)
	started := make(chan *drivers.TaskHandle, 1)
	go func() { started <- app.start() }()
	handles = append(handles, proxy.start())
	return app, proxy, append(handles, <-started)
}

func (tk *task) order() string {
	tk.n.t.Helper()
	b, err := os.ReadFile(filepath.Join(tk.TaskDir().SharedAllocDir, "data", "order"))
	must.NoError(tk.n.t, err)
	return strings.ReplaceAll(string(b), "\n", ", ")
}

// TestRestartWith_PartnerEnds checks that an app is stopped by its own signal and counts as failed
// when its proxy crashes, and that both start again in order.
func TestRestartWith_PartnerEnds(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		events := n.watchEvents()
		alloc := uuid.Generate()
		app, proxy, _ := startPartners(n, alloc)
		proxy.writeAllocFile("crash-proxy")
		must.Eq(t, 3, proxy.wait().ExitCode)
		res := app.wait()
		must.ErrorContains(t, res.Err, `Stopped because task "proxy", which restart_with names, ended`)
		must.Eq(t, 0, res.ExitCode)
		n.waitFor("the event", func() bool { return strings.Contains(events(), `app: Stopped because task "proxy"`) })
		app, _, _ = startPartners(n, alloc)
		must.Eq(t, "start proxy, start app, stop app, start proxy, start app, ", app.order())
	})
}

// TestRestartWith_PartnerStops checks that an app stops before its proxy if only the proxy is
// stopped, as by a restart of that task.
func TestRestartWith_PartnerStops(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		app, proxy, _ := startPartners(n, uuid.Generate())
		must.NoError(t, n.StopTask(proxy.ID, 2*maxWait, "SIGTERM"))
		must.Eq(t, drivers.ExitResult{}, *proxy.wait())
		must.ErrorContains(t, app.wait().Err, "which restart_with names, is stopped")
		must.Eq(t, "start proxy, start app, stop app, stop proxy, ", app.order())
	})
}

// TestRestartWith_PluginAway checks that a recovered app is stopped if its proxy ended while no
// plugin was running.
func TestRestartWith_PluginAway(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		app, proxy, handles := startPartners(n, uuid.Generate())
		n.abandon()
		proxy.writeAllocFile("crash-proxy")
		n.waitFor("the end of the proxy", func() bool {
			found, _ := filepath.Glob(filepath.Join(n.config.RunDir, "pods", app.AllocID, "tasks", "*", "exit"))
			return len(found) == 1
		})
		n.start()
		for _, handle := range handles {
			must.NoError(t, n.RecoverTask(handle))
		}
		must.ErrorContains(t, app.wait().Err, "which restart_with names, ended")
	})
}

func TestRestartWith_Cycle(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		errs := make(chan error, 2)
		for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
			config := sh("exit 0")
			config.RestartWith = []string{pair[1]}
			tk := n.newTask(alloc, pair[0], config, quiet)
			go func() {
				_, _, err := n.StartTask(tk.TaskConfig)
				errs <- err
			}()
		}
		for range 2 {
			must.ErrorContains(t, <-errs, "restart_with: tasks wait for each other")
		}
		config := sh("exit 0")
		config.RestartWith = []string{"self"}
		_, _, err := n.StartTask(n.newTask("", "self", config, quiet).TaskConfig)
		must.ErrorContains(t, err, `restart_with = ["self"]: a task cannot name itself`)
	})
}

// TestAfter_CompletedTask checks that a task starts after one that has completed and was removed, also
// when it starts again later.
func TestAfter_CompletedTask(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		pre := n.newTask(alloc, "pre", sh("exit 0"), quiet)
		pre.start()
		must.Eq(t, 0, pre.wait().ExitCode)
		keeps := n.newTask(alloc, "keeps", sh("sleep infinity"), quiet)
		keeps.start() // the pod exists
		must.NoError(t, n.DestroyTask(pre.ID, false))
		config := sh("exit 0")
		config.After = []string{"pre"}
		for range 2 {
			app := n.newTask(alloc, "app", config, quiet)
			app.start()
			must.Eq(t, 0, app.wait().ExitCode)
			must.NoError(t, n.DestroyTask(app.ID, false))
		}
	})
}

package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// live returns a task that is checked every second and stopped by SIGUSR1.
func live(c driver.TaskConfig, l driver.LiveConfig) driver.TaskConfig {
	l.Interval, l.Timeout = "1s", "1s"
	if l.Failures == 0 {
		l.Failures = 2
	}
	c.Live, c.KillSignal, c.KillTimeout = &l, "SIGUSR1", maxWait.String()
	return c
}

// untilFile runs a script, waits for /alloc/now, runs another script and waits for SIGUSR1.
func untilFile(first, then string) driver.TaskConfig {
	return sh("trap 'exit 0' USR1; " + first + "; touch /alloc/up; until [ -e /alloc/now ]; do sleep 0.02; done; " + then +
		"; while :; do sleep 0.02; done")
}

// writeAllocFile creates a file in the allocation's shared directory, which the tasks wait for.
func (tk *task) writeAllocFile(name string) {
	tk.n.t.Helper()
	must.NoError(tk.n.t, os.WriteFile(filepath.Join(tk.TaskDir().SharedAllocDir, name), nil, 0o644))
}

func (tk *task) awaitAllocFile(name string) {
	tk.n.t.Helper()
	tk.n.waitFor(name, func() bool {
		_, err := os.Stat(filepath.Join(tk.TaskDir().SharedAllocDir, name))
		return err == nil
	})
}

// TestLive_EndsTask checks that a task whose check fails is stopped by its own signal and counts
// as failed although it exits with 0, and that an event and the result have the last result of
// the check.
func TestLive_EndsTask(t *testing.T) {
	const server = `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1:%d", ReuseAddr => 1) or die; while ($c = $s->accept) { sleep 1 while -e "/alloc/now"; <$c>; print $c "HTTP/1.0 200 OK\r\n\r\n"; close $c }' & `
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		events := n.watchEvents()
		file := untilFile("touch /tmp/up", "rm /tmp/up")
		var tasks []*task
		for name, tc := range map[string]struct {
			config driver.TaskConfig
			check  driver.LiveConfig
		}{
			"file": {file, driver.LiveConfig{File: "/tmp/up"}},
			"exec": {file, driver.LiveConfig{Exec: []string{"/bin/sh", "-c", "printf 'it is\033[31m gone'; exec test -e /tmp/up"}}},
			"tcp":  {untilFile(fmt.Sprintf(server, 18481)+"p=$!", "kill $p"), driver.LiveConfig{TCP: "127.0.0.1:18481"}},
			"http": {untilFile(fmt.Sprintf(server, 18482)+"p=$!", "true"), driver.LiveConfig{HTTP: "http://127.0.0.1:18482/"}},
		} {
			config := live(tc.config, tc.check)
			tk := n.newTask("", name, ready(config, driver.ReadyConfig{Exec: tc.check.Exec, HTTP: tc.check.HTTP, TCP: tc.check.TCP, File: tc.check.File}), quiet)
			tk.start()
			tasks = append(tasks, tk)
		}
		for _, tk := range tasks {
			tk.awaitAllocFile("up")
			tk.writeAllocFile("now")
		}
		for _, tk := range tasks {
			res := tk.wait()
			must.ErrorContains(t, res.Err, "Liveness check failed 2 times in a row: "+tk.Name+" ")
			must.False(t, res.Successful())
			must.Eq(t, 0, res.ExitCode, must.Sprint(tk.Name))
			n.waitFor("the event", func() bool { return strings.Contains(events(), tk.Name+": Liveness check failed 2 times in a row: ") })
		}
		must.StrContains(t, events(), "file /tmp/up: no such file or directory")
		must.StrNotContains(t, events(), "\033")
	})
}

// TestLive_KillTimeout checks that a task that does not react to its signal is killed after its
// kill_timeout.
func TestLive_KillTimeout(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := live(sh("trap '' USR1; sleep 600"), driver.LiveConfig{File: "/never", Failures: 1})
		config.KillTimeout = "50ms"
		tk := n.newTask("", "hung", config, quiet)
		tk.start()
		res := tk.wait()
		must.ErrorContains(t, res.Err, "Liveness check failed once: file /never: no such file or directory")
		must.Eq(t, 9, res.Signal)
	})
}

// Trap D24: TestLive_NotDuringStop checks that the driver does not act on failed checks of a task
// that is stopping.
func TestLive_NotDuringStop(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		events := n.watchEvents()
		config := live(sh("touch /tmp/up; trap 'rm /tmp/up; sleep 3; exit 7' TERM; touch /alloc/up; while :; do sleep 0.02; done"),
			driver.LiveConfig{File: "/tmp/up", Failures: 1})
		ready := ready(config, driver.ReadyConfig{File: "/tmp/up"})
		stopped, signaled := n.newTask("", "stopped", ready, quiet), n.newTask("", "signaled", ready, quiet)
		for _, tk := range []*task{stopped, signaled} {
			tk.start()
			tk.awaitAllocFile("up")
		}
		must.NoError(t, n.SignalTask(signaled.ID, "SIGTERM"))
		must.NoError(t, n.StopTask(stopped.ID, maxWait, "SIGTERM"))
		for _, tk := range []*task{stopped, signaled} {
			must.Eq(t, drivers.ExitResult{ExitCode: 7}, *tk.wait())
		}
		must.StrNotContains(t, events(), "Liveness")
	})
}

// Trap D26: TestLive_Recovered checks that a recovered task is checked again, and that a stop that
// the driver had begun continues.
func TestLive_Recovered(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := live(sh("touch /tmp/up; trap 'touch /alloc/asked' USR1; touch /alloc/up; until [ -e /alloc/now ]; do sleep 0.02; done; rm /tmp/up; until [ -e /alloc/end ]; do sleep 0.02; done"),
			driver.LiveConfig{File: "/tmp/up"})
		tk := n.newTask("", "web", ready(config, driver.ReadyConfig{File: "/tmp/up"}), quiet)
		handle := tk.start()
		tk.awaitAllocFile("up")
		again := func() {
			n.abandon()
			n.start()
			must.NoError(t, n.RecoverTask(handle))
		}
		again()
		tk.writeAllocFile("now")
		tk.awaitAllocFile("asked")
		again()
		tk.writeAllocFile("end")
		res := tk.wait()
		must.ErrorContains(t, res.Err, "Liveness check failed 2 times in a row: file /tmp/up: no such file or directory")
		must.Eq(t, 0, res.ExitCode)
	})
}

// Trap D23: TestLive_StopWhileHung checks that a hanging check does not delay a stop and leaves no
// process behind.
func TestLive_StopWhileHung(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		attempt := testtimeout.Scale(time.Second).String() // a command needs longer to start on a slow machine
		config := live(sh("trap 'exit 6' TERM; while :; do sleep 0.02; done"),
			driver.LiveConfig{Exec: []string{"/bin/sh", "-c", "touch /alloc/hung; exec sleep 600"}, Failures: 1000})
		config.Live.Interval, config.Live.Timeout = attempt, attempt
		tk := n.newTask("", "web", config, quiet)
		tk.start()
		tk.awaitAllocFile("hung")
		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGTERM"))
		must.Eq(t, drivers.ExitResult{ExitCode: 6}, *tk.wait())
	})
}

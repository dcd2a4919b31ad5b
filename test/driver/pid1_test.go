package driver_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestExit_InitSystem checks that an event names the key that makes an init system fail, and that
// other failed tasks have no such event.
func TestExit_InitSystem(t *testing.T) {
	const notPID1 = "its init system is not PID 1, which most require; "
	const script = "#!/bin/sh\n[ $$ -eq 1 ] || exit 100\nexit 7\n"
	pid := []string{"ipc", "uts", "pid"}
	cases := map[string]struct {
		config driver.TaskConfig
		code   int
		want   string // "" for no event
	}{
		"alone":       {driver.TaskConfig{Command: "/local/init"}, 7, ""},
		"application": {driver.TaskConfig{Command: "/local/app", Share: pid}, 100, ""},
		"share":       {driver.TaskConfig{Command: "/local/init", Share: pid}, 100, notPID1 + `remove "pid" from share`},
		"init":        {driver.TaskConfig{Command: "/local/init", Init: true}, 100, notPID1 + "remove init = true"},
		"both":        {driver.TaskConfig{Command: "/local/init", Init: true, Share: pid}, 100, notPID1 + `remove "pid" from share and remove init = true`},
		"pid_mode":    {driver.TaskConfig{Command: "/local/init", PidMode: "host"}, 100, notPID1 + `remove pid_mode = "host"`},
		"systemd":     {driver.TaskConfig{Command: "/local/sbin/init"}, 7, "systemd must write to /sys/fs/cgroup; set privileged = true"},
		"privileged":  {driver.TaskConfig{Command: "/local/sbin/init", Privileged: true}, 7, ""},
		"wrapped":     {driver.TaskConfig{Command: "/bin/sh", Args: []string{"/local/init"}, Init: true}, 100, notPID1 + "remove init = true"},
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.AllowHostNamespaces, c.AllowPrivileged = runtime, true, true
		})
		events := n.watchEvents()
		for name, tc := range cases {
			tk := n.newTask("", name, tc.config, quiet)
			tk.localFile("init", script, 0o755)
			tk.localFile("app", script, 0o755)
			tk.localFile("systemd", script, 0o755)
			must.NoError(t, os.Mkdir(filepath.Join(tk.TaskDir().LocalDir, "sbin"), 0o755))
			must.NoError(t, os.Symlink("../systemd", filepath.Join(tk.TaskDir().LocalDir, "sbin", "init")))
			tk.start()
			must.Eq(t, tc.code, tk.wait().ExitCode, must.Sprint(name))
		}
		for name, tc := range cases {
			if tc.want != "" {
				n.waitFor("the event of "+name, func() bool {
					return strings.Contains(events(), name+": The task ended with exit code "+strconv.Itoa(tc.code)+": "+tc.want+"\n")
				})
			}
		}
		for name, tc := range cases {
			if tc.want == "" {
				must.StrNotContains(t, events(), name+": The task ended")
			}
		}
	})
}

// TestStop_SignalWithoutHandler checks that an event explains why a program that is PID 1 did not
// react to the signal, and only then.
func TestStop_SignalWithoutHandler(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		events := n.watchEvents()
		stop := func(name, script, signal string, timeout time.Duration, change func(*driver.TaskConfig)) *drivers.ExitResult {
			config := sh(script + "echo up; while :; do sleep 60; done")
			if change != nil {
				change(&config)
			}
			tk := n.newTask("", name, config, nil)
			tk.start()
			tk.output("stdout", contains("up"))
			must.NoError(t, n.StopTask(tk.ID, timeout, signal))
			return tk.wait()
		}
		const short = 50 * time.Millisecond
		must.Eq(t, int(syscall.SIGTERM), stop("shared", "", "SIGTERM", maxWait, func(c *driver.TaskConfig) { c.Share = []string{"pid"} }).Signal)
		must.Eq(t, int(syscall.SIGKILL), stop("ignores", "trap '' TERM; ", "SIGTERM", short, nil).Signal)
		must.Eq(t, int(syscall.SIGKILL), stop("handles", "trap 'echo got it' TERM; ", "SIGTERM", short, nil).Signal)
		must.Eq(t, int(syscall.SIGKILL), stop("plain", "", "", short, nil).Signal)
		must.Eq(t, int(syscall.SIGKILL), stop("real-time", "", "SIGRTMIN+3", short, nil).Signal)
		must.Eq(t, int(syscall.SIGKILL), stop("window", "", "SIGWINCH", short, nil).Signal)
		n.waitFor("the events", func() bool {
			return strings.Contains(events(), "plain: The task did not end within 50ms: its program is PID 1 and has no handler for SIGTERM") &&
				strings.Contains(events(), "real-time: The task did not end within 50ms: its program is PID 1 and has no handler for signal 37") &&
				strings.Contains(events(), "has no handler for SIGWINCH, which the kernel then discards; set kill_signal to")
		})
		for _, name := range []string{"shared", "ignores", "handles"} {
			must.StrNotContains(t, events(), name+": ")
		}
	})
}

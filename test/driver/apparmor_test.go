package driver_test

import (
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

const (
	confined    = "nomad-driver-pod (enforce)\n"
	readProfile = "cat /proc/self/attr/current"
	// openProc opens a file of /proc for writing. Only an AppArmor profile denies this: root
	// may open the file, and its path is not masked.
	openProc = "( : >> /proc/uptime ) 2>/dev/null && echo open || echo denied"
)

// needAppArmor skips a test on a kernel without AppArmor. make test-hosts boots a kernel
// with it.
func needAppArmor(t *testing.T) {
	t.Helper()
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !strings.HasPrefix(string(b), "Y") {
		t.Skip("needs a kernel with AppArmor: run make test-hosts")
	}
}

func TestAppArmor_TasksAreConfined(t *testing.T) {
	needAppArmor(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.DebugContainers = runtime, true })
		profile, _ := n.fingerprint().Attributes["driver.pod.apparmor"].GetString()
		must.Eq(t, "nomad-driver-pod", profile)

		config := sh("trap 'exit 3' TERM; " + readProfile + "; while :; do sleep 0.1; done")
		config.Share = []string{"ipc", "uts", "pid"}
		first := n.newTask("", "first", config, quietRoot)
		first.start()
		config.Args = []string{"-c", "exec sleep 4242"}
		second := n.newTask(first.AllocID, "second", config, quietRoot)
		second.start()
		must.Eq(t, confined, first.exec(readProfile))
		must.Eq(t, confined, first.exec("cat /proc/1/attr/current"), must.Sprint("the infra process"))
		must.Eq(t, "denied\n", first.exec(openProc))
		first.attempt("mount -t tmpfs x /tmp", "echo 1 > /proc/sys/kernel/domainname")

		beside, err := first.debugExec("/bin/sh", "-c", readProfile+" /proc/$POD_TASK_PID/attr/current; cat $POD_TASK_ROOT/etc/hosts >/dev/null && echo traced")
		must.NoError(t, err)
		must.Eq(t, confined+confined+"traced\n", beside)

		first.exec("kill -0 $(pgrep -f 'sleep 424[2]') && cat /proc/$(pgrep -f 'sleep 424[2]')/environ >/dev/null")
		must.NoError(t, n.StopTask(first.ID, maxWait, "SIGTERM"))
		must.Eq(t, 3, first.wait().ExitCode)
	})
}

func TestAppArmor_ProfileWasRemoved(t *testing.T) {
	needAppArmor(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		n.fingerprint()
		must.NoError(t, os.WriteFile("/sys/kernel/security/apparmor/.remove", []byte("nomad-driver-pod"), 0o600))
		tk := n.newTask("", "app", sh("exec sleep 600"), quietRoot)
		tk.start()
		must.Eq(t, confined, tk.exec(readProfile))
	})
}

func TestAppArmor_WithoutProfile(t *testing.T) {
	needAppArmor(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("exec sleep 600")
		config.SecurityOpt = []string{"apparmor=unconfined"}
		must.ErrorContains(t, n.startError(n.newTask("", "app", config, quietRoot)), "allow_privileged = true")

		n = newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.AllowPrivileged = runtime, true })
		for _, change := range []func(*driver.TaskConfig){
			func(*driver.TaskConfig) {},
			func(c *driver.TaskConfig) { c.SecurityOpt, c.Privileged = nil, true },
		} {
			change(&config)
			tk := n.newTask("", "app", config, quietRoot)
			tk.start()
			must.StrHasPrefix(t, "unconfined", tk.exec(readProfile))
			must.Eq(t, "open\n", tk.exec(openProc))
		}
	})
}

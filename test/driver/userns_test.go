package driver_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// The pool of ids of these tests.
const (
	usernsFirst  = 0x70000000
	usernsRanges = 3 // pods with a user namespace that can exist at once
)

// newUsernsNode starts a node with ids for pods with a user namespace.
func newUsernsNode(t *testing.T, change func(*driver.PluginConfig)) *node {
	t.Helper()
	runtime := matrix.UsernsRuntime(t)
	n := newNode(t, func(c *driver.PluginConfig) {
		c.Runtime = runtime
		c.Userns = driver.UsernsConfig{First: usernsFirst, Size: usernsRanges << 16}
		c.DeniedHostUIDs = ""
		if change != nil {
			change(c)
		}
	})
	sandbox.LetAllEnter(t, n.config.RunDir)
	return n
}

// auto returns a config with a user namespace of the pod.
func auto(c driver.TaskConfig) driver.TaskConfig {
	c.Userns = "auto"
	return c
}

func asHostRoot(c *drivers.TaskConfig) { c.User = "root" }

// ownerOf returns the owner of a file on disk.
func ownerOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	must.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// firstID returns the host's id of root in a task.
func (tk *task) firstID() string {
	tk.n.t.Helper()
	return tk.exec("while read -r inside first count; do echo $inside $first $count; done < /proc/self/uid_map")
}

func usernsMap(n int) string { return fmt.Sprintf("0 %d 65536\n", usernsFirst+n<<16) }

// Trap D28: a program executed in such a pod must be able to enter its network namespace.
// TestUserns checks a pod of a task without an image and a task with one, which share all
// namespaces that tasks can share: root of a task is another user of the host, and files keep their
// owners, on disk and in the task.
func TestUserns(t *testing.T) {
	n := newUsernsNode(t, nil)
	supported, _ := n.fingerprint().Attributes["driver.pod.userns"].GetBool()
	must.True(t, supported)
	config := auto(sh("echo up > /dev/stdout; sleep infinity"))
	config.Share = []string{"ipc", "uts", "pid"}
	config.PodVolumes = map[string]driver.VolumeConfig{"shared": {Target: "/shared"}}
	app := n.newTask("", "app", config, asHostRoot)
	app.start()
	app.output("stdout", contains("up"))
	config.Image = testimage.Layout(t, filepath.Join(t.TempDir(), "shell"), shellImage(t, v1.Config{}))
	config.WorkDir = "/made/here"
	side := n.newTask(app.AllocID, "side", config, nil)
	side.start()
	side.output("stdout", contains("up"))

	for i, tk := range []*task{app, side} {
		must.Eq(t, usernsMap(0), tk.firstID())
		must.Eq(t, "0 0\n", tk.exec("echo $(id -u) $(id -g)"))
		must.Eq(t, "", tk.exec(`for f in / /etc /bin/sh /dev/shm /shared .; do stat -L -c "%u:%g $f" $f; done | grep -v ^0:0 || true`))
		must.Eq(t, "0\n", tk.exec("grep -c -v -e '^ *lo:' -e '|' /proc/net/dev || true")[:2])
		name := fmt.Sprint("file", i)
		tk.exec("for d in /alloc/data /local /secrets /dev/shm /shared / .; do echo x > $d/" + name + "; chown 1000:1000 $d/" + name + "; done")
		for _, dir := range []string{filepath.Join(tk.TaskDir().SharedAllocDir, "data"), tk.TaskDir().LocalDir, tk.TaskDir().SecretsDir} {
			must.Eq(t, "1000:1000", ownerOf(t, filepath.Join(dir, name)))
		}
		shm := filepath.Join(n.config.RunDir, "pods", app.AllocID, "shm", name)
		must.Eq(t, fmt.Sprintf("%d:%d", usernsFirst+1000, usernsFirst+1000), ownerOf(t, shm))
		for _, read := range []string{"/alloc/data", "/dev/shm", "/shared"} {
			must.Eq(t, "1000:1000\n", side.exec("stat -c %u:%g "+read+"/"+name))
		}
	}
	const namespaces = "stat -L -c %i /proc/self/ns/user /proc/self/ns/pid /proc/self/ns/ipc /proc/self/ns/uts"
	must.Eq(t, app.exec(namespaces), side.exec(namespaces))
}

// TestUserns_HostRoot checks that root of a pod with all capabilities, and without a seccomp
// profile, fails at what root of the host can do.
func TestUserns_HostRoot(t *testing.T) {
	n := newUsernsNode(t, func(c *driver.PluginConfig) { c.AllowPrivileged, c.AllowCaps = true, []string{"all"} })
	config := auto(sh("sleep infinity"))
	config.CapAdd, config.SecurityOpt = []string{"all"}, []string{"seccomp=unconfined", "apparmor=unconfined"}
	inside := n.newTask("", "inside", config, asHostRoot)
	inside.start()
	config = sh("sleep infinity")
	config.Privileged = true
	outside := n.newTask("", "outside", config, asHostRoot)
	outside.start()
	const writable = "mount -o remount,rw,bind /proc/sys 2>/dev/null; mount -o remount,rw,bind /sys 2>/dev/null; "
	for name, attempt := range map[string]string{
		"create a disk":         "mknod /tmp/disk b 7 0",
		"mount debugfs":         "mount -t debugfs none /mnt || { mkdir -p /tmp/mnt && mount -t debugfs none /tmp/mnt; }",
		"change memory sysctl":  writable + "cat /proc/sys/vm/swappiness > /tmp/old; cat /tmp/old > /proc/sys/vm/swappiness",
		"change core_pattern":   writable + "cat /proc/sys/kernel/core_pattern > /tmp/old; cat /tmp/old > /proc/sys/kernel/core_pattern",
		"write to sysfs":        writable + "cat /sys/kernel/rcu_normal > /tmp/old; cat /tmp/old > /sys/kernel/rcu_normal",
		"set the clock":         `date -s "@$(date +%s)"`,
		"set the log level":     "dmesg -n $(cut -c1 /proc/sys/kernel/printk)",
		"configure the network": "ip link set lo mtu $(cat /sys/class/net/lo/mtu)",
		"forward packets":       writable + "cat /proc/sys/net/ipv4/ip_forward > /tmp/old; cat /tmp/old > /proc/sys/net/ipv4/ip_forward",
		"raise a priority":      "renice -n -1 $$",
		"make a file immutable": "touch /local/fixed; chattr +i /local/fixed && chattr -i /local/fixed",
		"give files to others":  "touch /local/given; chown 70000 /local/given",
	} {
		t.Run(name, func(t *testing.T) {
			outside.exec("{ " + attempt + "; } >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }")
			inside.exec("! { " + attempt + "; } >/dev/null 2>&1")
		})
	}
}

// TestUserns_Recover checks that a pod keeps its ids over a restart of the plugin, that tasks can be
// used and new ones can join after it, and that the ids are free once the pod is gone.
func TestUserns_Recover(t *testing.T) {
	n := newUsernsNode(t, func(c *driver.PluginConfig) { c.DebugContainers, c.AllowCaps = true, []string{"all"} })
	config := auto(sh("trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done"))
	config.Share = []string{"ipc", "uts", "pid"}
	config.PreStop = &driver.PreStopConfig{Command: "/bin/touch", Args: []string{"/alloc/data/stopping"}, Timeout: "5s"}
	config.Live = &driver.LiveConfig{Exec: []string{"/bin/true"}, Interval: "1s", Timeout: "1s", Failures: 3}
	app := n.newTask("", "app", config, asHostRoot)
	handle := app.start()
	app.output("stdout", contains("up"))
	n.abandon()
	n.start()
	must.NoError(t, n.RecoverTask(handle))
	must.Eq(t, usernsMap(0), app.firstID())

	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	stats, err := n.TaskStats(ctx, app.ID, 10*time.Millisecond)
	must.NoError(t, err)
	must.Positive(t, (<-stats).ResourceUsage.MemoryStats.Usage)
	cancel()
	out, err := app.debugExec("/bin/sh", "-c", "cat /proc/self/uid_map; ls $POD_TASK_ROOT/alloc")
	must.NoError(t, err)
	must.StrContains(t, out, fmt.Sprint(usernsFirst))
	must.StrContains(t, out, "data")

	config.Live, config.PreStop = nil, nil
	late := n.newTask(app.AllocID, "late", config, asHostRoot)
	late.start()
	must.Eq(t, usernsMap(0), late.firstID())
	must.NoError(t, n.StopTask(app.ID, maxWait, "SIGTERM"))
	must.Eq(t, 3, app.wait().ExitCode)
	must.Eq(t, "0:0", ownerOf(t, filepath.Join(app.TaskDir().SharedAllocDir, "data/stopping")))
	must.NoError(t, n.DestroyTask(app.ID, true))
	must.NoError(t, n.DestroyTask(late.ID, true))
	n.waitFor("the ids to be free", func() bool { return len(n.ranges()) == 0 })
}

// TestUserns_Contradiction checks that the tasks of a pod must agree.
func TestUserns_Contradiction(t *testing.T) {
	n := newUsernsNode(t, nil)
	for _, tc := range []struct{ first, second, want string }{
		{"host", "auto", `userns = "auto", but other tasks of the pod have "host"; set the same in all tasks`},
		{"auto", "", `userns = "host", but other tasks of the pod have "auto"; set the same in all tasks`},
	} {
		config := sh("sleep infinity")
		config.Userns = tc.first
		tk := n.newTask("", "first", config, asHostRoot)
		tk.start()
		config.Userns = tc.second
		err := n.startError(n.newTask(tk.AllocID, "second", config, asHostRoot))
		must.ErrorContains(t, err, tc.want)
		must.False(t, structs.IsRecoverable(err))
	}
}

// TestUserns_Unsupported checks that a runtime that cannot create such pods is found at the
// fingerprint, and that tasks which ask for one are refused, all others not.
func TestUserns_Unsupported(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.Userns = runtime, driver.UsernsConfig{First: usernsFirst, Size: usernsRanges << 16}
		})
		sandbox.LetAllEnter(t, n.config.RunDir)
		fp := n.fingerprint()
		if supported, _ := fp.Attributes["driver.pod.userns"].GetBool(); supported {
			t.Skip("this runtime can")
		}
		must.Eq(t, drivers.HealthStateHealthy, fp.Health)
		must.StrContains(t, fp.HealthDescription, `userns = "auto" is refused`)
		err := n.startError(n.newTask("", "app", auto(sh("true")), nil))
		must.ErrorContains(t, err, "that needs runc 1.4 or newer")
		must.False(t, structs.IsRecoverable(err))
		n.checkStarts(sh("true"))

		required := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.Userns = runtime, driver.UsernsConfig{First: usernsFirst, Size: usernsRanges << 16, Required: true}
		})
		sandbox.LetAllEnter(t, required.config.RunDir)
		fp = required.fingerprint()
		must.Eq(t, drivers.HealthStateUnhealthy, fp.Health)
		must.StrContains(t, fp.HealthDescription, "userns { required = true }")
	})
}

// TestUserns_RootsOfOthers checks that no other user can enter the root of a pod with a user
// namespace, while it is created and later.
func TestUserns_RootsOfOthers(t *testing.T) {
	n := newUsernsNode(t, nil)
	config := auto(sh("sleep infinity"))
	config.Share = []string{"pid"}
	config.Ready = &driver.ReadyConfig{File: "/alloc/data/go", Interval: "10ms", Timeout: "20s"}
	tk := n.newTask("", "app", config, asHostRoot)
	started := make(chan error, 1)
	go func() {
		_, _, err := n.StartTask(tk.TaskConfig)
		started <- err
	}()
	var dirs []string
	n.waitFor("the root", func() bool {
		dirs, _ = filepath.Glob(n.config.RunDir + "-roots/*")
		return len(dirs) == 2 // the infra process has one too
	})
	for _, dir := range dirs {
		for _, user := range []uint32{65534, usernsFirst + 1<<16} {
			cmd := exec.Command("ls", filepath.Join(dir, "root"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
			out, err := cmd.CombinedOutput()
			must.Error(t, err, must.Sprint(string(out)))
			must.StrContains(t, string(out), "Permission denied")
		}
	}
	must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().SharedAllocDir, "data/go"), nil, 0o600))
	must.NoError(t, <-started)
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, "root"))
		must.NoError(t, err)
		if strings.Contains(dir, ".app.") {
			must.SliceEmpty(t, entries, must.Sprint("the root is mounted only in the task"))
		}
	}
	must.NoError(t, n.DestroyTask(tk.ID, true))
}

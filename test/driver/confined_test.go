package driver_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestTask_Confined checks the confinement of a task with default settings.
func TestTask_Confined(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		status := tk.exec("cat /proc/1/status")
		for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "Uid:\t65534"} {
			must.StrContains(t, status, want)
		}
		must.Eq(t, "0\n", tk.exec("head -c 1 /proc/interrupts | wc -c"), must.Sprint("masked files are empty"))
		must.Eq(t, "no\n", tk.exec("echo 1 > /proc/sys/kernel/hostname 2>/dev/null || echo no"))
		must.Eq(t, "no\n", tk.exec("touch /usr/file 2>/dev/null || echo no"))
		must.Eq(t, "yes\n", tk.exec("touch /tmp/file && echo yes"))
		must.Eq(t, "no\n", tk.exec("[ -e /root/.bashrc ] || [ -e /home ] || echo no"))
		must.Eq(t, "no\n", tk.exec("head -c1 /dev/vda 2>/dev/null || echo no"))
	})
}

// Trap D21: tasks do not inherit the OOM score that Nomad's unit sets for the plugin.
func TestStart_OOMScoreOfPlugin(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	was, err := os.ReadFile(file)
	must.NoError(t, err)
	withRuntimes(t, func(t *testing.T, runtime string) {
		must.NoError(t, os.WriteFile(file, []byte("321"), 0)) // lowering it needs CAP_SYS_RESOURCE
		t.Cleanup(func() { must.NoError(t, os.WriteFile(file, was, 0)) })
		_, tk := idle(t, runtime)
		must.Eq(t, "0\n", tk.exec("cat /proc/1/oom_score_adj"))
	})
}

func TestTask_DefaultCapabilities(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("grep CapEff /proc/self/status; id -u; mount -t tmpfs none /tmp 2>&1 || echo refused")
		tk := n.newTask("", "root", config, func(c *drivers.TaskConfig) { c.User = "root" })
		tk.start()
		tk.wait()
		out := tk.output("stdout", contains("refused"))
		must.StrContains(t, out, "CapEff:\t00000000a80405fb") // docker's default without NET_RAW
		must.StrContains(t, out, "\n0\n")
	})
}

func TestLimits_Enforced(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		group := map[string]string{
			"memory/nomad/" + tk.AllocID + ".idle/memory.limit_in_bytes": "67108864",
			"cpu/nomad/" + tk.AllocID + ".idle/cpu.shares":               "100",
			"pids/nomad/" + tk.AllocID + ".idle/pids.max":                "512",
		}
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			scope := "nomad.slice/share.slice/" + tk.AllocID + ".idle.scope/"
			group = map[string]string{scope + "memory.max": "67108864", scope + "pids.max": "512"}
		}
		for file, want := range group {
			b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", file))
			must.NoError(t, err)
			must.Eq(t, want, strings.TrimSpace(string(b)), must.Sprint(file))
		}
		_ = n
	})
}

// Trap D4, CVE-2026-6959: a task cannot replace the log files that Nomad writes to.
func TestLogs_ReadOnlyInTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "writer", sh("echo up; exec sleep 600"), func(c *drivers.TaskConfig) { c.User = "root" })
		tk.start()
		tk.output("stdout", contains("up"))
		for _, try := range []string{
			"echo x > /alloc/logs/new", "ln -s /etc/passwd /alloc/logs/link", "mv /alloc/logs /alloc/other",
			"mv /alloc/logs/writer.stdout.0 /alloc/logs/moved", "rm -f /alloc/logs/writer.stdout.0", "rmdir /alloc/logs",
			"mount -o remount,rw /alloc/logs",
		} {
			must.Eq(t, "refused\n", tk.exec("("+try+") 2>/dev/null || echo refused"), must.Sprint(try))
		}
		must.Eq(t, "yes\n", tk.exec("echo yes > /alloc/data/file && cat /alloc/data/file"))
	})
}

// Trap D4: a log that is a symlink is not opened.
func TestStart_LogIsSymlink(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		victim := filepath.Join(t.TempDir(), "victim")
		must.NoError(t, os.WriteFile(victim, []byte("intact"), 0o600))
		tk := n.newTask("", "link", sh("echo written"), nil)
		link := filepath.Join(tk.TaskDir().LogDir, "link")
		must.NoError(t, os.Symlink(victim, link))
		tk.StdoutPath = link
		_, _, err := n.StartTask(tk.TaskConfig)
		must.ErrorContains(t, err, "open log")
		b, err := os.ReadFile(victim)
		must.NoError(t, err)
		must.Eq(t, "intact", string(b))
	})
}

// Trap D5, CVE-2026-14896: a symlink in the allocation's directory that leads out of it is not
// mounted.
func TestStart_SymlinkInAllocDir(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "link", sh("ls /alloc/logs"), quiet)
		logs := tk.TaskDir().LogDir
		must.NoError(t, os.Rename(logs, logs+".moved"))
		must.NoError(t, os.Symlink("/etc", logs))
		t.Cleanup(func() {
			must.NoError(t, os.Remove(logs))
			must.NoError(t, os.Rename(logs+".moved", logs))
		})
		_, _, err := n.StartTask(tk.TaskConfig)
		must.ErrorContains(t, err, "symbolic link")
	})
}

// Trap D6, CVE-2026-14891: a task cannot join the pod of another allocation.
func TestStart_JoinsNoOtherPod(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for _, alloc := range []string{"..", "../" + uuid.Generate(), "", uuid.Generate() + "/..", "x"} {
			tk := n.newTask("", "sneak", sh("exit 0"), nil)
			tk.AllocID = alloc
			_, _, err := n.StartTask(tk.TaskConfig)
			must.ErrorContains(t, err, "is not a UUID", must.Sprint(alloc))
		}
		for _, mode := range []string{"host", "task:" + uuid.Generate(), "../x"} {
			config := sh("exit 0")
			config.PidMode = mode
			_, _, err := n.StartTask(n.newTask("", "sneak", config, nil).TaskConfig)
			must.ErrorContains(t, err, "pid_mode")
		}
	})
}

// Trap D1 (podman#13081): a log FIFO without a reader does not block a start.
func TestStart_LogWithoutReader(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "unread", sh("echo out; echo err >&2; exit 3"), nil)
		for _, path := range []*string{&tk.StdoutPath, &tk.StderrPath} {
			*path += ".unread"
			must.NoError(t, unix.Mkfifo(*path, 0o600))
		}
		tk.start()
		must.Eq(t, 3, tk.wait().ExitCode)
	})
}

// Trap D20: neither the task's nor the plugin's environment reaches the helper programs.
func TestStart_MonitorHasEmptyEnvironment(t *testing.T) {
	t.Setenv("OF_THE_PLUGIN", "evil")
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "env", sh("echo up; exec sleep 600"), func(c *drivers.TaskConfig) {
			c.Env = map[string]string{"LD_PRELOAD": "/tmp/evil.so"}
		})
		tk.start()
		tk.output("stdout", contains("up"))
		pids, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", "*", "conmon.pid"))
		must.NoError(t, err)
		pid, err := os.ReadFile(pids[0])
		must.NoError(t, err)
		env, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "environ"))
		must.NoError(t, err)
		must.StrContains(t, string(env), "_OCI_STARTPIPE=")
		must.StrNotContains(t, string(env), "evil")
		must.StrContains(t, tk.exec("tr '\\0' '\\n' < /proc/1/environ"), "LD_PRELOAD=/tmp/evil.so")
	})
}

// Trap D14: concurrent calls of stop, wait and destroy.
func TestTask_ConcurrentStopWaitDestroy(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "race", sh("exec sleep 600"), nil)
		tk.start()
		done := make(chan error, 12)
		for range 4 {
			go func() { done <- n.StopTask(tk.ID, 10*time.Millisecond, "SIGTERM") }()
			go func() { done <- n.SignalTask(tk.ID, "SIGUSR1") }()
			go func() { done <- n.DestroyTask(tk.ID, true) }()
		}
		for range 12 {
			if err := <-done; err != nil {
				must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
			}
		}
		_, err := n.InspectTask(tk.ID)
		must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
	})
}

// Trap D14: a failed start can be repeated with the same ID.
func TestStart_RepeatedAfterFailure(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "twice", driver.TaskConfig{Command: "/no/such/program"}, nil)
		_, _, err := n.StartTask(tk.TaskConfig)
		must.ErrorContains(t, err, "/no/such/program")
		config := sh("exit 5")
		must.NoError(t, tk.EncodeConcreteDriverConfig(&config))
		tk.start()
		must.Eq(t, 5, tk.wait().ExitCode)
	})
}

func TestStatsAndSignals(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "busy", sh("trap 'echo hup' HUP; echo up; while :; do :; done"), nil)
		tk.start()
		tk.output("stdout", contains("up"))
		must.NoError(t, n.SignalTask(tk.ID, "SIGHUP"))
		tk.output("stdout", contains("hup"))

		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		ch, err := n.TaskStats(ctx, tk.ID, 100*time.Millisecond)
		must.NoError(t, err)
		for use := range ch {
			if use.ResourceUsage.CpuStats.Percent > 10 {
				must.Positive(t, use.ResourceUsage.MemoryStats.Usage)
				break
			}
		}
		must.NoError(t, ctx.Err(), must.Sprint("busy task has no CPU usage"))
		must.NoError(t, n.StopTask(tk.ID, 0, "SIGKILL"))
		for range ch { // the channel is closed when the task ends (nomad#5936)
		}
		must.NoError(t, ctx.Err())
	})
}

package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// Attacks of a task with root on its limits and its exit status.

// cgroupFile reads a file of the task's cgroup on the host.
func (tk *task) cgroupFile(v1, v2 string) string {
	tk.n.t.Helper()
	path := filepath.Join(cgroup.Root, filepath.Dir(v1), "nomad", tk.AllocID+"."+tk.Name, filepath.Base(v1))
	if v, err := cgroup.Detect(); err == nil && v == cgroup.V2 {
		path = filepath.Join(cgroup.Root, "nomad.slice/share.slice", tk.AllocID+"."+tk.Name+".scope", v2)
	}
	b, err := os.ReadFile(path)
	must.NoError(tk.n.t, err)
	return strings.TrimSpace(string(b))
}

// limits returns the task's limits in the kernel.
func (tk *task) limits() []string {
	return []string{
		tk.cgroupFile("memory/memory.limit_in_bytes", "memory.max"), tk.cgroupFile("pids/pids.max", "pids.max"),
		tk.cgroupFile("cpu/cpu.shares", "cpu.weight"),
	}
}

// TestTask_CannotRaiseLimits checks that root in a task cannot change its limits or the host's
// settings.
func TestTask_CannotRaiseLimits(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "greedy", sh("exec sleep 600"), quietRoot)
		tk.start()
		before := tk.limits()
		tk.attempt(
			"for f in $(find /sys/fs/cgroup -name memory.max -o -name memory.limit_in_bytes -o -name pids.max -o -name cpu.shares); do echo -1 > $f && exit 0; echo max > $f && exit 0; done; exit 1",
			"for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name tasks -o -name devices.allow -o -name release_agent); do echo $$ > $f && exit 0; done; exit 1",
			"for d in $(find /sys/fs/cgroup -mindepth 1 -type d); do mkdir $d/own && exit 0; done; exit 1",
			"for d in $(grep -o '/sys[^ ]*' /proc/self/mountinfo); do mount -o remount,rw $d && exit 0; done; exit 1",
			"mkdir -p /tmp/cg && mount -t cgroup -o memory none /tmp/cg", "mkdir -p /tmp/cg && mount -t cgroup2 none /tmp/cg",
			"mount -t tmpfs none /tmp", "unshare -m true", "unshare -Ur true", "unshare -C true", "nsenter -t 1 -n -m true",
			"echo -500 > /proc/self/oom_score_adj", "echo h > /proc/sysrq-trigger", writeUnchanged("/proc/sys/kernel/panic"),
			writeUnchanged("/proc/sys/kernel/core_pattern"), "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem", "chroot /proc/1/root/.. true && mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg",
			"dmesg", "hwclock -w", "date -s now", "nice -n -5 false; [ $(nice -n -5 nice) -lt $(nice) ]", "hostname stolen",
		)
		must.Eq(t, before, tk.limits())
		must.Eq(t, "67108864", tk.limits()[0])
	})
}

// writeUnchanged returns a script that writes the current value to a kernel setting. If the write
// succeeds, the host is unchanged.
func writeUnchanged(file string) string {
	return fmt.Sprintf(`v=$(cat %[1]s) && echo "$v" > %[1]s`, file)
}

// TestSys_HostMountsHidden checks that a task cannot read or write host mounts below /sys, such as
// debugfs, even in the host's network.
func TestSys_HostMountsHidden(t *testing.T) {
	const at = "/sys/kernel/debug"
	withRuntimes(t, func(t *testing.T, runtime string) {
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "mode=777"); err != nil {
			t.Skipf("needs a mount point below /sys: %v", err)
		}
		t.Cleanup(func() { must.NoError(t, unix.Unmount(at, 0)) })
		must.NoError(t, os.WriteFile(at+"/knob", []byte("host's"), 0o666))
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "curious", sh("exec sleep 600"), quietRoot)
		tk.start()
		tk.attempt("cat "+at+"/knob", "echo mine > "+at+"/knob", "touch "+at+"/new", "mkdir "+at+"/new")
		must.StrNotContains(t, tk.exec("cat /proc/self/mountinfo"), " "+at+" ")
		must.StrContains(t, tk.exec("ls /sys/kernel /sys/class/net"), "lo")
	})
}

// TestLimits_ForkBomb checks that a fork bomb is bounded by pids_limit, does not affect other
// tasks, and can be ended.
func TestLimits_ForkBomb(t *testing.T) {
	const most, tries = 24, 400
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.PidsLimit = runtime, most })
		other := n.startBystander()
		// If the limit has no effect, the bomb is still a small one.
		config := sh(fmt.Sprintf("trap '' TERM; i=0; while [ $i -lt %d ]; do i=$((i+1)); (trap '' TERM; exec sleep 600) & done; exec sleep 600", tries))
		config.Command = "/usr/bin/perl" // a shell exits if it cannot fork
		config.Args = []string{"-e", fmt.Sprintf(`$SIG{TERM} = "IGNORE"; $SIG{CHLD} = "IGNORE"; $failed = 0;
			for (1..%d) { $pid = fork; if (!defined $pid) { $failed++ } elsif (!$pid) { sleep 600; exit } }
			open F, ">/alloc/data/failed"; print F $failed; close F; sleep 600`, tries)}
		bomb := n.newTask("", "bomb", config, quietRoot)
		bomb.start()
		failed := filepath.Join(bomb.TaskDir().SharedAllocDir, "data/failed")
		n.waitFor("the bomb", func() bool { b, err := os.ReadFile(failed); return err == nil && len(b) > 0 })
		b, err := os.ReadFile(failed)
		must.NoError(t, err)
		count, err := strconv.Atoi(string(b))
		must.NoError(t, err)
		must.GreaterEq(t, tries-most, count)
		now, err := strconv.Atoi(bomb.cgroupFile("pids/pids.current", "pids.current"))
		must.NoError(t, err)
		must.LessEq(t, most, now)
		other.checkUnharmed()
		n.checkStarts(sh("exit 0"))
		must.NoError(t, n.StopTask(bomb.ID, 10*time.Millisecond, "SIGTERM"))
		must.Eq(t, int(unix.SIGKILL), bomb.wait().Signal)
		other.checkUnharmed()
	})
}

// TestLogs_Flood checks that a task with endless output fills only its own files up to their limit
// and does not delay the output of others.
func TestLogs_Flood(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		other := n.startBystander()
		config := sh("yes flood & exec yes flood >&2")
		config.Logs = &driver.LogsConfig{MaxFiles: 2, MaxFileSizeMB: 1}
		flood := n.newTask("", "flood", config, withoutCollector)
		flood.start()
		n.waitFor("the files to be rotated", func() bool {
			_, err := os.Stat(filepath.Join(flood.TaskDir().LogDir, "flood.stderr.0"))
			return os.IsNotExist(err)
		})
		other.checkUnharmed()
		must.NoError(t, n.StopTask(flood.ID, 10*time.Millisecond, "SIGKILL"))
		must.Eq(t, int(unix.SIGKILL), flood.wait().Signal)
		for _, stream := range []string{"stdout", "stderr"} {
			files, err := filepath.Glob(filepath.Join(flood.TaskDir().LogDir, "flood."+stream+".*"))
			must.NoError(t, err)
			must.LessEq(t, 2, len(files))
			for _, file := range files {
				info, err := os.Stat(file)
				must.NoError(t, err)
				must.LessEq(t, 1<<20, info.Size())
			}
		}
		other.checkUnharmed()
	})
}

// Trap D9: daemons of a task end with it, even if they hold the log open and ignore signals, and
// their output is in the log.
func TestExit_KillsDaemons(t *testing.T) {
	const daemon = `perl -MPOSIX -e '$SIG{$_} = "IGNORE" for qw(HUP INT TERM); exit if fork; setsid; exit if fork; $| = 1; print "daemon up\n"; open F, ">/alloc/data/up"; close F; sleep 987002'; until [ -e /alloc/data/up ]; do sleep 0.01; done; exit 5`
	for _, share := range [][]string{{"ipc", "uts"}, {"ipc", "uts", "pid"}} {
		t.Run(strings.Join(share, "+"), func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				n := collecting(t, runtime)
				events := n.watchEvents()
				alloc := uuid.Generate()
				in := func(name, script string) *task {
					config := sh(script)
					config.Share = share
					return n.newTask(alloc, name, config, func(c *drivers.TaskConfig) { withoutCollector(c); c.User = "root" })
				}
				sibling := in("sibling", "exec sleep 600")
				sibling.start()
				tk := in("parent", daemon)
				tk.start()
				must.Eq(t, 5, tk.wait().ExitCode)
				must.Eq(t, "daemon up\n", tk.logged("stdout"))
				must.StrNotContains(t, sibling.exec("ps -eo args"), "987002")
				must.Eq(t, 0, leakcheck.Running(t, "987002"))
				must.StrNotContains(t, events(), "did not end")
			})
		})
	}
}

// Trap D11: a task cannot forge its exit status: the monitor's files are not visible inside.
func TestExit_CannotBeForged(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime) // its output is complete when it exits
		for name, want := range map[string]int{"code": 9, "killed": 137} {
			tk := n.newTask("", name, sh(`for f in $(find / -path /proc -prune -o -path /sys -prune -o -path /usr -prune -o \( -name exit -o -name oom -o -name task.json -o -name config.json -o -name conmon.pid -o -name "*.json" -newer /proc/1 \) -print); do
				echo $f; echo 0 > $f; done
				for d in /proc/1/cwd /proc/self/fd/3 /proc/self/fd/4 /run /; do echo 0 > $d/exit; done
				exit `+strconv.Itoa(want)), func(c *drivers.TaskConfig) { withoutCollector(c); c.User = "root" })
			tk.start()
			result := tk.wait()
			must.Eq(t, want, result.ExitCode)
			must.NoError(t, result.Err)
			must.False(t, result.OOMKilled)
			must.Eq(t, "", tk.logged("stdout"))
		}
	})
}

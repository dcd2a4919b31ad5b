package driver_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// makeCgroup creates a task's cgroup on cgroup v2 as Nomad does, and removes it after the test as
// Nomad does: it kills the remaining processes and does not wait (client/lib/cgroupslib, lifeCG2).
// On v1 the runtime creates the cgroups in the same place. Nomad's own code is not used because it
// treats cgroups as disabled if the kernel has no cpuset controller.
func (n *node) makeCgroup(cfg *drivers.TaskConfig) {
	n.t.Helper()
	if v, err := cgroup.Detect(); err != nil || v != cgroup.V2 || os.Geteuid() != 0 {
		return
	}
	n.makeSlices()
	group := filepath.Join(cgroup.Root, "nomad.slice/share.slice", cfg.AllocID+"."+cfg.Name+".scope")
	must.NoError(n.t, os.MkdirAll(group, 0o755))
	cfg.Resources.LinuxResources.CpusetCgroupPath = group
	n.t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0) // it may not exist any more
		_ = os.Remove(group)                                                  // the leak check reports leftovers
	})
}

// makeSlices creates the parent cgroups as Nomad's client does when it starts (cgroupslib.Init),
// but enables only the controllers of this kernel: a uniprocessor kernel has no cpuset.
func (n *node) makeSlices() {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(cgroup.Root, "cgroup.controllers"))
	must.NoError(n.t, err)
	enable := ""
	for _, c := range strings.Fields(string(b)) {
		switch c {
		case "cpuset", "cpu", "io", "memory", "pids":
			enable += " +" + c
		}
	}
	for _, dir := range []string{".", "nomad.slice", "nomad.slice/share.slice", "nomad.slice/reserve.slice"} {
		dir = filepath.Join(cgroup.Root, dir)
		must.NoError(n.t, os.MkdirAll(dir, 0o755))
		must.NoError(n.t, os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(enable), 0o644))
	}
}

// requireV2 skips a test on a host that does not use cgroup v2 only.
func requireV2(t *testing.T) {
	t.Helper()
	if v, err := cgroup.Detect(); err != nil || v != cgroup.V2 {
		t.Skip("needs a host with only cgroup v2: run make test-cgroup2")
	}
}

// cgroupOf returns the cgroup of the process named by a pid file.
func cgroupOf(t *testing.T, pidFile string) string {
	t.Helper()
	found, err := filepath.Glob(pidFile)
	must.NoError(t, err)
	must.Len(t, 1, found, must.Sprint(pidFile))
	pid, err := os.ReadFile(found[0])
	must.NoError(t, err)
	b, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "cgroup"))
	must.NoError(t, err)
	return strings.TrimSpace(string(b))
}

// TestCgroup2_OwnGroups checks that a task is in the cgroup that Nomad created, that its monitor
// and the infra process are in no task's cgroup, and that the task cannot read its cgroup's path.
func TestCgroup2_OwnGroups(t *testing.T) {
	requireV2(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("echo up; exec sleep 600")
		config.Share = []string{"ipc", "uts", "pid"}
		tk := n.newTask("", "a", config, nil)
		group := tk.Resources.LinuxResources.CpusetCgroupPath
		tk.start()
		tk.output("stdout", contains("up"))

		b, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		must.NoError(t, err)
		status, err := n.InspectTask(tk.ID)
		must.NoError(t, err)
		must.Eq(t, status.DriverAttributes["pid"]+"\n", string(b))
		pod := filepath.Join(n.config.RunDir, "pods", tk.AllocID)
		must.StrHasPrefix(t, "0::/nomad-driver-pod/"+tk.AllocID+"/monitor-", cgroupOf(t, filepath.Join(pod, "tasks", "*", "conmon.pid")))
		must.Eq(t, "0::/nomad-driver-pod/"+tk.AllocID+"/holder", cgroupOf(t, filepath.Join(pod, "holder", "pid")))
		must.Eq(t, "0::/\n", tk.exec("cat /proc/self/cgroup"))
		must.Eq(t, "67108864\n", tk.exec("cat /sys/fs/cgroup/memory.max"))
		must.Eq(t, "no\n", tk.exec("echo max > /sys/fs/cgroup/memory.max 2>/dev/null || echo no"))
	})
}

// TestCgroup2_KillByNomad checks that a task ends when Nomad kills its cgroup, and that this is not
// reported as an OOM kill.
func TestCgroup2_KillByNomad(t *testing.T) {
	requireV2(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "killed", sh("sleep 600 & echo up; wait"), nil)
		group := tk.Resources.LinuxResources.CpusetCgroupPath
		tk.start()
		tk.output("stdout", contains("up"))
		must.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0))
		must.Eq(t, drivers.ExitResult{ExitCode: 137, Signal: 9}, *tk.wait())
	})
}

// Trap D7 (nomad#28272): a task runs on the CPUs of its slice from its first instruction on, and
// follows changes of the slice.
func TestStart_CPUsOfSliceOnCgroup2(t *testing.T) {
	requireV2(t)
	controllers, err := os.ReadFile(filepath.Join(cgroup.Root, "cgroup.controllers"))
	must.NoError(t, err)
	if !slices.Contains(strings.Fields(string(controllers)), "cpuset") || cpus() < 2 {
		t.Skip("needs the cpuset controller and two processors")
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := driver.TaskConfig{Command: "/usr/bin/awk", Args: []string{
			`/Cpus_allowed_list/ { print $2; fflush(); system("sleep infinity") }`, "/proc/self/status"}}
		tk := n.newTask("", "shared", config, nil)
		slice := filepath.Join(filepath.Dir(tk.Resources.LinuxResources.CpusetCgroupPath), "cpuset.cpus")
		old, err := os.ReadFile(slice)
		must.NoError(t, err)
		t.Cleanup(func() { must.NoError(t, os.WriteFile(slice, old, 0)) })
		for i, cpu := range []string{"1", "0"} {
			must.NoError(t, os.WriteFile(slice, []byte(cpu), 0))
			if i == 0 {
				tk.start()
				tk.output("stdout", contains(cpu+"\n"))
			}
			must.Eq(t, cpu+"\n", tk.exec("awk '/Cpus_allowed_list/ { print $2 }' /proc/1/status"))
		}
	})
}

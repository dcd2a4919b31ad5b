package driver

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/moby/sys/capability"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// permissive returns settings that allow everything.
func permissive(t *testing.T) settings {
	t.Helper()
	s := defaults(t)
	s.AllowPrivileged, s.Volumes.Enabled, s.AllowCaps = true, true, []string{"all"}
	return s
}

// Values that an operator allows can still be invalid.
func TestTaskFrom_InvalidThoughAllowed(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "profile.json")
	must.NoError(t, os.WriteFile(profile, []byte(`{"defaultAction": 1}`), 0o600))
	for name, tc := range map[string]struct{ hcl, want string }{
		"no source":    {`volumes = ["/no/such:/a"]`, `volumes: "/no/such:/a": /no/such does not exist: create it on the host first`},
		"no device":    {"devices {\n host_path = \"/dev/no-such\"\n}", `devices: host_path = "/dev/no-such": the host has no such device`},
		"not a device": {"devices {\n host_path = \"/dev/pts\"\n}", `not a device: use a separate block for each device`},
		"no profile":   {`security_opt = ["seccomp=/no/such"]`, `security_opt: "seccomp=/no/such": seccomp profile: lstat /no: no such file`},
		"endless":      {`security_opt = ["seccomp=/dev/zero"]`, `not a regular file within its limit`},
		"relative":     {`security_opt = ["seccomp=local/x.json"]`, `want seccomp=unconfined, or the absolute path`},
		"bad profile":  {`security_opt = ["seccomp=` + profile + `"]`, profile + ": "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := permissive(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\n"+tc.hcl)), cgroup.V2)
			must.ErrorContains(t, err, tc.want)
		})
	}
}

// A limit that cannot be raised and a capability that the client lacks are reported before the
// runtime fails.
func TestTaskFrom_MissingOnClient(t *testing.T) {
	own, err := capability.NewPid2(0)
	must.NoError(t, err)
	must.NoError(t, own.Load())
	if own.Get(capability.BOUNDING, capability.CAP_SYS_RESOURCE) {
		t.Skip("this process has CAP_SYS_RESOURCE and may raise limits")
	}
	for hcl, want := range map[string]string{
		`ulimit = { nofile = "-1" }`:   `ulimit: nofile = "-1" is above the Nomad client's own limit of`,
		`cap_add = ["sys_resource"]`:   `cap_add: the Nomad client does not have CAP_SYS_RESOURCE itself`,
		`ulimit = { core = "0:9999" }`: ``,
	} {
		_, err := permissive(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\n"+hcl)), cgroup.V2)
		if want == "" {
			must.NoError(t, err)
			continue
		}
		must.ErrorContains(t, err, want)
	}
	task, err := permissive(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\ncap_add = [\"all\"]")), cgroup.V2)
	must.NoError(t, err, must.Sprint("all means all capabilities of the client"))
	must.SliceContains(t, task.Capabilities, "CAP_SYS_ADMIN")
	must.SliceNotContains(t, task.Capabilities, "CAP_SYS_RESOURCE")
}

// Volumes from the allocation's directory need no permission of the operator, and symlinks are not
// followed.
func TestTaskFrom_AllocationVolumes(t *testing.T) {
	cfg := taskConfig(t, TaskConfig{})
	dir := cfg.TaskDir()
	for text, want := range map[string][]pod.UntrustedBind{
		"local/a:/a":           {{DirHostPath: dir.Dir, Name: "local/a", Target: "/a", Make: true}},
		"./local/../local:/a/": {{DirHostPath: dir.Dir, Name: "local", Target: "/a", Make: true}},
		"secrets:/a:ro":        {{DirHostPath: dir.Dir, Name: "secrets", Target: "/a", Make: true, Readonly: true}},
		"../alloc/data:/a":     {{DirHostPath: dir.SharedAllocDir, Name: "data", Target: "/a", Make: true}},
		"../alloc/logs:/a:rw":  {{DirHostPath: dir.SharedAllocDir, Name: "logs", Target: "/a", Readonly: true}},
		"../alloc:/a": {{DirHostPath: dir.SharedAllocDir, Name: ".", Target: "/a", Make: true},
			{DirHostPath: dir.SharedAllocDir, Name: "logs", Target: "/a/logs", Readonly: true}},
		dir.LocalDir + "/a:/a": {{DirHostPath: dir.Dir, Name: "local/a", Target: "/a", Make: true}},
	} {
		c := TaskConfig{Command: "a", Volumes: []string{text}}
		must.NoError(t, cfg.EncodeConcreteDriverConfig(&c))
		task, err := defaults(t).taskFrom(cfg, cgroup.V2)
		must.NoError(t, err, must.Sprint(text))
		for i := range want {
			want[i].Key = "volumes"
		}
		must.Eq(t, want, task.UntrustedBinds, must.Sprint(text))
		must.SliceEmpty(t, task.Mounts)
	}
}

func TestTmpfsOptions(t *testing.T) {
	for text, want := range map[string][]string{
		"/run":                  {"mode=1777", "nosuid", "nodev", "noexec"},
		"/run:size=64k,exec":    {"mode=1777", "nosuid", "nodev", "size=65536", "exec"},
		"/run:mode=0700,ro,dev": {"mode=1777", "nosuid", "noexec", "mode=0700", "ro", "dev"},
	} {
		task, err := defaults(t).taskFrom(taskConfig(t, TaskConfig{Command: "a", Tmpfs: []string{text}}), cgroup.V2)
		must.NoError(t, err)
		must.Eq(t, want, task.Mounts[0].Options, must.Sprint(text))
	}
}

func TestTaskFrom_HardLimitsAndSwap(t *testing.T) {
	const mib = 1 << 20
	cfg := taskConfig(t, TaskConfig{Command: "a", CPUHardLimit: true, CPUCFSPeriod: 20000, MemorySwap: "1g"})
	cfg.Resources = &drivers.Resources{
		NomadResources: &structs.AllocatedTaskResources{Memory: structs.AllocatedMemoryResources{MemoryMB: 64}},
		LinuxResources: &drivers.LinuxResources{PercentTicks: 0.5},
	}
	s := defaults(t)
	s.ceilings.swapBytes = 1 << 30
	task, err := s.taskFrom(cfg, cgroup.V1)
	must.NoError(t, err)
	must.Eq(t, int64(10000*runtime.NumCPU()), task.Limits.CPUQuotaMicros)
	must.Eq(t, 20000, task.Limits.CPUPeriodMicros)
	must.Eq(t, 64*mib, task.Limits.MemoryBytes)
	must.Eq(t, 1024*mib, task.Limits.MemorySwapBytes)

	cfg.Resources.LinuxResources.PercentTicks = 0.0001
	task, err = s.taskFrom(cfg, cgroup.V1)
	must.NoError(t, err)
	must.Eq(t, minCPUQuotaMicros, task.Limits.CPUQuotaMicros, must.Sprint("minimum of the kernel"))

	cfg.Resources.NomadResources.Memory.MemoryMaxMB = -1
	_, err = defaults(t).taskFrom(cfg, cgroup.V1)
	must.ErrorContains(t, err, `memory_swap = "1g": without a memory limit`)
}

func TestTaskFrom_NetworkSysctls(t *testing.T) {
	cfg := taskConfig(t, TaskConfig{Command: "a", Sysctl: map[string]string{"net.core.somaxconn": "1"}, Ports: []string{"http"}})
	cfg.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: "/run/netns/x"}
	task, err := defaults(t).taskFrom(cfg, cgroup.V2)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"net.core.somaxconn": "1"}, task.Sysctl)
}

func TestPorts_UnknownLabel(t *testing.T) {
	cfg := taskConfig(t, TaskConfig{Command: "a", Ports: []string{"http", "nope"}})
	cfg.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: "/run/netns/x"}
	cfg.Resources = &drivers.Resources{Ports: &structs.AllocatedPorts{{Label: "http"}, {Label: "admin"}}}
	_, err := defaults(t).taskFrom(cfg, cgroup.V2)
	must.EqError(t, err, `ports: "nope" is not a port of the group's network; it has "http" "admin"`)
}

func TestAmbientCapabilities(t *testing.T) {
	task, err := defaults(t).taskFrom(taskConfig(t, TaskConfig{Command: "a", CapAdd: []string{"net_bind_service"}}), cgroup.V2)
	must.NoError(t, err)
	must.Eq(t, []string{"CAP_NET_BIND_SERVICE"}, task.Ambient)
	task, err = defaults(t).taskFrom(taskConfig(t, TaskConfig{Command: "a"}), cgroup.V2)
	must.NoError(t, err)
	must.SliceEmpty(t, task.Ambient)
}

// allow_caps is the set of capabilities that a task may have, as in Nomad's other drivers.
func TestAllowedCapabilities(t *testing.T) {
	s := defaults(t)
	s.AllowCaps = []string{"net_raw", "chown"}
	task, err := s.taskFrom(taskConfig(t, TaskConfig{Command: "a", CapAdd: []string{"net_raw"}}), cgroup.V2)
	must.NoError(t, err)
	must.SliceContainsAll(t, []string{"CAP_CHOWN", "CAP_NET_RAW"}, task.Capabilities)
}

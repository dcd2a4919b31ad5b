package driver

import (
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// TestSetRuntime checks that keys which gVisor does not support are refused, and the others accepted.
func TestSetRuntime(t *testing.T) {
	for name, tc := range map[string]struct {
		hcl  string
		want string
	}{
		"plain":       {"", ""},
		"much":        {"init = true\ncap_add = [\"all\"]\nreadonly_rootfs = true\nulimit = { nofile = \"10\" }\ntmpfs = [\"/run\"]\nshm_size = \"8m\"\nshare = [\"ipc\", \"uts\", \"pid\"]\nsecurity_opt = [\"no-new-privileges\"]\npids_limit = 5", ""},
		"loopback":    {"ready {\n http = \"http://localhost:80/\"\n}\nlive {\n tcp = \"127.0.0.1:80\"\n}", ""},
		"privileged":  {"privileged = true", "privileged = true and"},
		"devices":     {"devices {\n host_path = \"/dev/null\"\n}", "devices and"},
		"userns":      {`userns = "auto"`, `userns = "auto" and`},
		"pid_mode":    {`pid_mode = "host"`, "pid_mode and"},
		"ipc_mode":    {`ipc_mode = "host"`, "ipc_mode and"},
		"uts_mode":    {`uts_mode = "host"`, "uts_mode and"},
		"sysctl":      {`sysctl = { "net.core.somaxconn" = "1" }`, "sysctl and"},
		"hard limit":  {"cpu_hard_limit = true", "cpu_hard_limit = true and"},
		"swap":        {`memory_swap = "128m"`, "memory_swap and"},
		"oom":         {"oom_score_adj = 1", "oom_score_adj and"},
		"share":       {"share = []", "share and"},
		"seccomp":     {`security_opt = ["seccomp=unconfined"]`, `security_opt = ["seccomp=unconfined"] and`},
		"set-uid":     {`security_opt = ["no-new-privileges=false"]`, `security_opt = ["no-new-privileges=false"] and`},
		"propagation": {"mount {\n type = \"bind\"\n source = \"/etc\"\n target = \"/a\"\n bind_options {\n propagation = \"rslave\"\n }\n}", "propagation of the mount at /a and"},
		"ready":       {"ready {\n http = \"http://10.0.0.1:80/\"\n}", `ready.http = "http://10.0.0.1:80/" and`},
		"live":        {"live {\n tcp = \"[::1]:80\"\n}", `live.tcp = "[::1]:80" and`},
	} {
		t.Run(name, func(t *testing.T) {
			s := defaults(t)
			s.AllowPrivileged, s.AllowHostNamespaces, s.AllowCaps, s.Volumes.Enabled = true, true, []string{"all"}, true
			s.Runtimes.Runsc = &RunscConfig{Path: "/usr/bin/runsc"}
			s.Userns = UsernsConfig{First: 1 << 20, Size: 1 << 20}
			s.pool.First, s.pool.Count = 1<<20, 1<<20
			cfg := taskConfig(t, decode(t, "command = \"a\"\nruntime = \"runsc\"\n"+tc.hcl))
			cfg.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
			task, err := s.taskFrom(cfg, cgroup.V2)
			if tc.want == "" {
				must.NoError(t, err)
				must.True(t, task.Gvisor)
				return
			}
			must.ErrorContains(t, err, tc.want+` runtime = "runsc" contradict each other`)
		})
	}
}

// TestSetRuntime_Alone checks that a key that gVisor does not have is refused only for that, whatever
// the operator allows.
func TestSetRuntime_Alone(t *testing.T) {
	for key, hcl := range map[string]string{
		"privileged = true": "privileged = true", "pid_mode": `pid_mode = "host"`, "ipc_mode": `ipc_mode = "host"`, "uts_mode": "uts_mode = \"host\"\nhostname = \"a\"",
		"memory_swap": `memory_swap = "-1"`, `security_opt = ["seccomp=unconfined"]`: `security_opt = ["seccomp=unconfined"]`,
		"devices": "devices {\n host_path = \"/dev/kvm\"\n}", "cdi_devices": `cdi_devices = ["a.b/c=d"]`,
		`userns = "auto"`: "userns = \"auto\"", "sysctl": `sysctl = { "kernel.panic" = "1" }`, "oom_score_adj": "oom_score_adj = -5",
		"cpu_hard_limit = true": "cpu_hard_limit = true",
	} {
		t.Run(key, func(t *testing.T) {
			s := defaults(t)
			s.Runtimes.Runsc = &RunscConfig{Path: "/usr/bin/runsc"}
			cfg := taskConfig(t, decode(t, "command = \"a\"\nruntime = \"runsc\"\n"+hcl))
			cfg.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
			_, err := s.taskFrom(cfg, cgroup.V2)
			must.ErrorContains(t, err, key+` and runtime = "runsc" contradict each other: `)
			must.StrNotContains(t, err.Error(), "\n", must.Sprint("another error"))
		})
	}
}

// TestSetRuntime_RequiredUserns checks that the advice is for the operator if the user namespace is
// the operator's.
func TestSetRuntime_RequiredUserns(t *testing.T) {
	for _, hcl := range []string{"", `userns = "auto"`} {
		s := defaults(t)
		s.Runtimes.Runsc = &RunscConfig{Path: "/usr/bin/runsc"}
		s.Userns = UsernsConfig{First: 1 << 20, Size: 1 << 20, Required: true}
		s.pool.First, s.pool.Count = 1<<20, 1<<20
		cfg := taskConfig(t, decode(t, "command = \"a\"\nruntime = \"runsc\"\n"+hcl))
		cfg.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
		_, err := s.taskFrom(cfg, cgroup.V2)
		must.EqError(t, err, `userns = "auto" and runtime = "runsc" contradict each other: gVisor has users of its own; let the operator set userns { required = false }`)
	}
}

// TestSetRuntime_Group checks settings that a task gets from its group.
func TestSetRuntime_Group(t *testing.T) {
	for want, change := range map[string]func(*drivers.TaskConfig){
		`network { mode = "host" } and`: func(c *drivers.TaskConfig) { c.NetworkIsolation = nil },
		`resources { device } and`:      func(c *drivers.TaskConfig) { c.Devices = []*drivers.DeviceConfig{{HostPath: "/dev/null"}} },
		`resources { cores } and`: func(c *drivers.TaskConfig) {
			c.Resources = &drivers.Resources{NomadResources: &structs.AllocatedTaskResources{Cpu: structs.AllocatedCpuResources{ReservedCores: []uint16{1}}}}
		},
		`propagation_mode of a volume_mount and`: func(c *drivers.TaskConfig) {
			c.Mounts = []*drivers.MountConfig{{TaskPath: "/a", HostPath: "/etc", PropagationMode: "bidirectional"}}
		},
	} {
		s := defaults(t)
		s.Runtimes.Runsc = &RunscConfig{Path: "/usr/bin/runsc"}
		cfg := taskConfig(t, decode(t, "command = \"a\"\nruntime = \"runsc\""))
		cfg.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
		change(cfg)
		_, err := s.taskFrom(cfg, cgroup.V2)
		must.ErrorContains(t, err, want+` runtime = "runsc" contradict each other`)
	}
}

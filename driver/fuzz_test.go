package driver

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/drivers/shared/capabilities"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// fuzzedConfigs puts two strings into each key that is parsed.
func fuzzedConfigs(a, b string) []TaskConfig {
	return []TaskConfig{
		{Volumes: []string{a + ":" + b}},
		{Volumes: []string{a}},
		{Mounts: []MountConfig{{Type: "bind", Source: a, Target: b}}},
		{Mounts: []MountConfig{{Type: a, Target: b}}},
		{Tmpfs: []string{a}},
		{Tmpfs: []string{"/x:" + a}},
		{PodVolumes: map[string]VolumeConfig{a: {Target: b}}},
		{PodVolumes: map[string]VolumeConfig{"data": {Target: "/x", Size: a}}},
		{Devices: []DeviceConfig{{HostPath: a, ContainerPath: b, CgroupPermissions: "rw"}}},
		{Devices: []DeviceConfig{{HostPath: "/dev/null", CgroupPermissions: a}}},
		{Sysctl: map[string]string{a: b}},
		{Ulimit: map[string]string{a: b}},
		{MemorySwap: a},
		{SecurityOpt: []string{a + "=" + b, a}},
		{CapAdd: []string{a}, CapDrop: []string{b}},
		{Share: []string{a}, PidMode: b},
		{IPCMode: a, UTSMode: b},
		{Userns: a, UsernsMode: b},
		{Hostname: a, WorkDir: b},
		{ExtraHosts: []string{a + ":" + b, a}},
		{Ports: []string{a}, GroupAdd: []string{b}},
		{Image: a, Platform: b},
		{Ready: &ReadyConfig{HTTP: a}},
		{Ready: &ReadyConfig{TCP: a}},
		{Ready: &ReadyConfig{File: a, Timeout: b}},
		{Live: &LiveConfig{HTTP: a, Interval: b}},
		{Live: &LiveConfig{TCP: a, Interval: "10s", Timeout: b}},
		{RestartWith: []string{a, b}},
		{KillSignal: a, KillTimeout: b},
		{PreStop: &PreStopConfig{Command: a, Timeout: b}},
	}
}

// FuzzTaskKeys checks that no value in a job gives a task more than the default plugin
// configuration allows.
func FuzzTaskKeys(f *testing.F) {
	for _, seed := range [][2]string{
		{"../alloc/data", "/data:ro"}, {"/etc/shadow", "/x"}, {"local/../../..", "/alloc/logs"}, {"/dev/mem", "rwm"}, {"64m", "512k"},
		{"kernel.core_pattern", "|/x"}, {"net.core.somaxconn", "1"}, {"nofile", "1:2"}, {"seccomp", "unconfined"}, {"CAP_SYS_ADMIN", "all"},
		{"pid", "host"}, {"oci:../alloc/data/img", "linux/amd64"}, {"http://127.0.0.1:80/x", "1s"}, {"/dev/net/../mem", "\x1b[2J\n"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		s := defaults(t)
		for _, c := range fuzzedConfigs(a, b) {
			if c.Image == "" {
				c.Command = "/bin/true"
			}
			cfg := taskConfig(t, c)
			task, err := s.taskFrom(cfg, cgroup.V2)
			if err == nil {
				checkConfined(t, task, cfg)
			}
		}
	})
}

// checkConfined fails the test if a task has more than is allowed by default.
func checkConfined(t *testing.T, task pod.Task, cfg *drivers.TaskConfig) {
	t.Helper()
	must.False(t, task.Privileged)
	must.Eq(t, pod.Share{}, task.HostNamespaces)
	must.Eq(t, "", task.Security.SeccompProfile)
	for _, m := range task.Mounts {
		must.Eq(t, "tmpfs", m.Type, must.Sprintf("%+v", m))
	}
	for _, m := range task.UntrustedBinds {
		must.True(t, m.DirHostPath == cfg.AllocDir || strings.HasPrefix(m.DirHostPath, cfg.AllocDir+"/"), must.Sprintf("%+v", m))
		must.False(t, strings.HasPrefix(m.Target, "/alloc/logs/"), must.Sprintf("%+v", m))
	}
	for _, d := range task.Devices {
		must.True(t, slices.Contains(harmlessDevices(), d.HostPath), must.Sprintf("%+v", d))
	}
	for _, name := range task.Capabilities {
		must.True(t, slices.Contains(capabilities.NomadDefaults().Slice(true), name), must.Sprint(name))
	}
}

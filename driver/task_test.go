package driver

import (
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// decode reads a task's config block as Nomad does.
func decode(t *testing.T, hcl string) TaskConfig {
	t.Helper()
	var c TaskConfig
	hclutils.NewConfigParser(taskConfigSpec()).ParseHCL(t, "config {\n"+hcl+"\n}", &c)
	return c
}

func taskConfig(t *testing.T, c TaskConfig) *drivers.TaskConfig {
	t.Helper()
	const alloc = "01234567-89ab-cdef-0123-456789abcdef"
	cfg := &drivers.TaskConfig{ID: alloc + "/web/12345678", AllocID: alloc, Name: "web", AllocDir: "/allocs/" + alloc}
	must.NoError(t, cfg.EncodeConcreteDriverConfig(&c))
	return cfg
}

func defaults(t *testing.T) settings {
	t.Helper()
	s, err := newSettings(PluginConfig{PodLinger: "1m", Image: ImageConfig{PullTimeout: "5m"}, PidsLimit: 100})
	must.NoError(t, err)
	return s
}

// Each wrong config gets an error that names the key and says how to mend it.
func TestWrongTaskConfigs(t *testing.T) {
	for name, tc := range map[string]struct{ hcl, want string }{
		"nothing to run":   {``, `command is missing: set command to the program to run, or image to an image that has one`},
		"policy alone":     {"command = \"a\"\nimage_pull_policy = \"always\"", `image_pull_policy is set and image is not`},
		"auth alone":       {"command = \"a\"\nauth {\n username = \"u\"\n password = \"p\"\n}", `auth is set and image is not`},
		"entrypoint alone": {"command = \"a\"\nentrypoint = [\"b\"]", `entrypoint is set and image is not`},
		"image":            {`image = "UPPER CASE"`, `image: `},
		"policy":           {"image = \"a\"\nimage_pull_policy = \"daily\"", `image_pull_policy = "daily": want "missing", "always" or "never"`},
		"timeout":          {"image = \"a\"\nimage_pull_timeout = \"soon\"", `image_pull_timeout = "soon": want a duration`},
		"work_dir":         {"command = \"a\"\nwork_dir = \"b\"", `work_dir = "b": want an absolute path`},
		"hostname":         {"command = \"a\"\nhostname = \"under_score\"", `hostname = "under_score": want at most 64`},
		"share":            {"command = \"a\"\nshare = [\"mnt\"]", `share: "mnt" is not a namespace that can be shared: want "ipc", "uts" or "pid"`},
		"contradiction":    {"command = \"a\"\nshare = [\"pid\"]\npid_mode = \"host\"", `share = ["pid"] and pid_mode = "host" contradict each other`},
		"name of the host": {"command = \"a\"\nhostname = \"x\"\nuts_mode = \"host\"", `hostname and uts_mode = "host" contradict each other`},
		"mode":             {"command = \"a\"\nipc_mode = \"task:web\"", `ipc_mode = "task:web": want "host"; to share with the pod's other tasks use share = ["ipc"]`},
		"not allowed":      {"command = \"a\"\npid_mode = \"host\"", `pid_mode = "host" is not allowed here: the operator can set allow_host_namespaces = true`},
		"pids_limit":       {"command = \"a\"\npids_limit = -1", `pids_limit = -1: want a number above 0`},
		"too many pids":    {"command = \"a\"\npids_limit = 101", `pids_limit = 101 is above the operator's limit of 100`},
		"cap_add":          {"command = \"a\"\ncap_add = [\"sys_admin\"]", `allow_caps in the plugin's config`},
		"no check":         {"command = \"a\"\nready {\n}", `ready has 0 checks: set one of exec, http, tcp and file`},
		"two checks":       {"command = \"a\"\nready {\n tcp = \":80\"\n file = \"/x\"\n}", `ready has 2 checks`},
		"ready http":       {"command = \"a\"\nready {\n http = \"localhost:80\"\n}", `ready.http = "localhost:80": want a URL`},
		"ready name":       {"command = \"a\"\nready {\n tcp = \"db.example:80\"\n}", `names are not looked up in the pod`},
		"ready tcp":        {"command = \"a\"\nready {\n tcp = \"80\"\n}", `ready.tcp = "80": want an address`},
		"ready file":       {"command = \"a\"\nready {\n file = \"x\"\n}", `ready.file = "x": want an absolute path`},
		"ready interval":   {"command = \"a\"\nready {\n file = \"/x\"\n interval = \"0s\"\n}", `ready.interval = "0s": want a duration above 0`},
		"ready timeout":    {"command = \"a\"\nready {\n file = \"/x\"\n timeout = \"x\"\n}", `ready.timeout = "x"`},
		"pre_stop":         {"command = \"a\"\npre_stop {\n command = \"\"\n}", `pre_stop.command is empty`},
		"pre_stop timeout": {"command = \"a\"\npre_stop {\n command = \"b\"\n timeout = \"-1s\"\n}", `pre_stop.timeout = "-1s"`},
		"volume target":    {"command = \"a\"\npod_volume \"v\" {\n target = \"x\"\n}", `pod_volume "v": target = "x": want an absolute path`},
		"volume size":      {"command = \"a\"\npod_volume \"v\" {\n target = \"/x\"\n size = \"big\"\n}", `pod_volume "v": size = "big": want a number of bytes`},
		"shm_size":         {"command = \"a\"\nshm_size = -1", `shm_size = -1`},
		"no such cap":      {"command = \"a\"\ncap_add = [\"fly\"]", `cap_add: "fly" is not a capability`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := defaults(t).taskFrom(taskConfig(t, decode(t, tc.hcl)), cgroup.V2)
			must.ErrorContains(t, err, tc.want)
		})
	}
}

func TestEveryMistakeIsTold(t *testing.T) {
	_, err := defaults(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\nwork_dir = \"b\"\nshare = [\"x\"]")), cgroup.V2)
	must.ErrorContains(t, err, "work_dir")
	must.ErrorContains(t, err, "share")
}

func TestWrongPluginConfigs(t *testing.T) {
	good := PluginConfig{PodLinger: "1m", Image: ImageConfig{PullTimeout: "5m"}}
	for name, tc := range map[string]struct {
		change func(*PluginConfig)
		want   string
	}{
		"linger":    {func(c *PluginConfig) { c.PodLinger = "long" }, `pod_linger = "long": want a duration`},
		"runtime":   {func(c *PluginConfig) { c.Runtime = "crun" }, `runtime = "crun": want an absolute path`},
		"host path": {func(c *PluginConfig) { c.HostPaths = []string{"usr"} }, `host path "usr": want "/path"`},
		"missing":   {func(c *PluginConfig) { c.HostPaths = []string{"/no/such"} }, `host_paths: "/no/such"`},
		"root":      {func(c *PluginConfig) { c.HostPaths = []string{"/"} }, `host path "/"`},
		"caps":      {func(c *PluginConfig) { c.AllowCaps = []string{"fly"} }, `allow_caps: "fly" is not a capability`},
		"pids":      {func(c *PluginConfig) { c.PidsLimit = -1 }, `pids_limit = -1`},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			tc.change(&c)
			_, err := newSettings(c)
			must.ErrorContains(t, err, tc.want)
		})
	}
}

// An operator who configures nothing, or one thing, gets the defaults.
func TestPluginConfigDefaults(t *testing.T) {
	for _, hcl := range []string{"", "image {}", "pids_limit = 4096"} {
		var c PluginConfig
		hclutils.NewConfigParser(pluginConfigSpec()).ParseHCL(t, "config {\n"+hcl+"\n}", &c)
		s, err := newSettings(c)
		must.NoError(t, err)
		must.Eq(t, "/var/lib/nomad-driver-pod", s.DataDir)
		must.Eq(t, "/run/nomad-driver-pod", s.RunDir)
		must.Eq(t, 5*time.Minute, s.pullTimeout)
		must.Eq(t, 3*time.Minute, s.gcDelay)
		must.Eq(t, time.Minute, s.podLinger)
		must.Eq(t, 4096, s.PidsLimit)
		must.SliceContains(t, s.hostPaths, pod.HostPath{HostPath: "/usr", TaskPath: "/usr"})
	}
}

func TestDefaultShare(t *testing.T) {
	task, err := defaults(t).taskFrom(taskConfig(t, decode(t, `command = "a"`)), cgroup.V2)
	must.NoError(t, err)
	must.Eq(t, pod.Share{IPC: true, UTS: true}, task.Share)
	task, err = defaults(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\nshare = []")), cgroup.V2)
	must.NoError(t, err)
	must.Eq(t, pod.Share{}, task.Share)
}

// MemoryLimitBytes of LinuxResources is wrong where a task has no hard limit.
func TestMemoryLimits(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		mem                structs.AllocatedMemoryResources
		limit, reservation int64
	}{
		"limit":         {structs.AllocatedMemoryResources{MemoryMB: 64}, 64 * mib, 0},
		"oversubscribe": {structs.AllocatedMemoryResources{MemoryMB: 64, MemoryMaxMB: 128}, 128 * mib, 64 * mib},
		"none":          {structs.AllocatedMemoryResources{MemoryMB: 64, MemoryMaxMB: -1}, 0, 64 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := taskConfig(t, TaskConfig{Command: "a"})
			cfg.Resources = &drivers.Resources{NomadResources: &structs.AllocatedTaskResources{Memory: tc.mem},
				LinuxResources: &drivers.LinuxResources{MemoryLimitBytes: 1}}
			task, err := defaults(t).taskFrom(cfg, cgroup.V2)
			must.NoError(t, err)
			must.Eq(t, tc.limit, task.Limits.MemoryBytes)
			must.Eq(t, tc.limit, task.Limits.MemorySwapBytes)
			must.Eq(t, tc.reservation, task.Limits.MemoryReservationBytes)
		})
	}
}

func TestTasksAreWhereNomadWantsThem(t *testing.T) {
	const scope = "01234567-89ab-cdef-0123-456789abcdef.web"
	for _, tc := range []struct {
		version     cgroup.Version
		given, want string
	}{
		{cgroup.V2, "/sys/fs/cgroup/nomad.slice/share.slice/" + scope + ".scope", "/nomad.slice/share.slice/" + scope + ".scope"},
		{cgroup.V2, "", "/nomad.slice/share.slice/" + scope + ".scope"},
		{cgroup.V1, "/sys/fs/cgroup/cpuset/nomad/share", "/nomad/" + scope},
		{cgroup.V1, "/sys/fs/cgroup/cpuset/nomad/reserve/" + scope, "/nomad/" + scope},
		{cgroup.Hybrid, "/sys/fs/cgroup/cpuset/other/share", "/other/" + scope},
		{cgroup.Hybrid, "", "/nomad/" + scope},
	} {
		cfg := taskConfig(t, TaskConfig{})
		cfg.Resources = &drivers.Resources{LinuxResources: &drivers.LinuxResources{CpusetCgroupPath: tc.given}}
		must.Eq(t, tc.want, cgroupPath(tc.version, cfg), must.Sprint(tc.given))
	}
}

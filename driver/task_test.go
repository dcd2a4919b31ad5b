package driver

import (
	"path/filepath"
	"slices"
	"strings"
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
	s, err := newSettings(PluginConfig{
		LogCollector: "pod", PodLinger: "1m", Image: ImageConfig{PullTimeout: "5m", PullActivityTimeout: "1m"}, PidsLimit: 100,
	})
	must.NoError(t, err)
	return s
}

// wrongTaskConfigs are invalid configs with keys of the right types, and their errors.
var wrongTaskConfigs = map[string]struct{ hcl, want string }{
	"nothing to run":   {``, `command is missing: set command to the program to run, or image to an image that has one`},
	"policy alone":     {"command = \"a\"\nimage_pull_policy = \"always\"", `image_pull_policy is set and image is not`},
	"auth alone":       {"command = \"a\"\nauth {\n username = \"u\"\n password = \"p\"\n}", `auth is set and image is not`},
	"entrypoint alone": {"command = \"a\"\nentrypoint = [\"b\"]", `entrypoint is set and image is not`},
	"image":            {`image = "UPPER CASE"`, `image: `},
	"policy":           {"image = \"a\"\nimage_pull_policy = \"daily\"", `image_pull_policy = "daily": want "missing", "always" or "never"`},
	"logs":             {"command = \"a\"\nlogs {\n max_files = 0\n}", "logs: max_files = 0, max_file_size = 10: want at least 1 each"},
	"timeout":          {"image = \"a\"\nimage_pull_timeout = \"soon\"", `image_pull_timeout = "soon": want a duration`},
	"work_dir":         {"command = \"a\"\nwork_dir = \"b\"", `work_dir = "b": want an absolute path`},
	"hostname":         {"command = \"a\"\nhostname = \"under_score\"", `hostname = "under_score" has "_": want only letters, digits, dots and dashes`},
	"hostname's end":   {"command = \"a\"\nhostname = \"a.\"", `hostname = "a." begins or ends with a dot or a dash: want a letter or digit there`},
	"hostname's begin": {"command = \"a\"\nhostname = \"-a\"", `hostname = "-a" begins or ends with a dot or a dash: want a letter or digit there`},
	"hostname's size":  {"command = \"a\"\nhostname = \"" + strings.Repeat("a", 65) + "\"", `has 65 characters: want at most 64`},
	"share":            {"command = \"a\"\nshare = [\"mnt\"]", `share: "mnt" is not a namespace that can be shared: want "ipc", "uts" or "pid"`},
	"contradiction":    {"command = \"a\"\nshare = [\"pid\"]\npid_mode = \"host\"", `share = ["pid"] and pid_mode = "host" contradict each other`},
	"name of the host": {"command = \"a\"\nhostname = \"x\"\nuts_mode = \"host\"", `hostname and uts_mode = "host" contradict each other`},
	"mode":             {"command = \"a\"\nipc_mode = \"task:web\"", `ipc_mode = "task:web": want "host"; to share with the pod's other tasks use share = ["ipc"]`},
	"not allowed":      {"command = \"a\"\npid_mode = \"host\"", `pid_mode = "host" is not allowed here: the operator can set allowed_modes { pid = ["host"] } or allow_host_namespaces = true`},
	"pids_limit":       {"command = \"a\"\npids_limit = -1", `pids_limit = -1: want a number above 0, up to the operator's pids_limit`},
	"too many pids":    {"command = \"a\"\npids_limit = 101", `pids_limit = 101 is above the operator's limit of 100`},
	"cap_add":          {"command = \"a\"\ncap_add = [\"sys_admin\"]", `allow_caps in the plugin's config`},
	"no check":         {"command = \"a\"\nready {\n}", `ready has 0 checks: set exactly one of exec, http, tcp and file`},
	"two checks":       {"command = \"a\"\nready {\n tcp = \":80\"\n file = \"/x\"\n}", `ready has 2 checks`},
	"ready exec":       {"command = \"a\"\nready {\n exec = [\"\"]\n}", `ready.exec: its first word is empty: want the program`},
	"after nothing":    {"command = \"a\"\nafter = [\"\"]", `after: "": want the names of other tasks`},
	"cap_drop":         {"command = \"a\"\ncap_drop = [\"fly\"]", `cap_drop: "fly" is not a capability`},
	"log size":         {"command = \"a\"\nlogs {\n max_file_size = 0\n}", `max_file_size = 0: want at least 1 each`},
	"platform alone":   {"command = \"a\"\nplatform = \"linux/arm64\"", `platform is set and image is not`},
	"ready http":       {"command = \"a\"\nready {\n http = \"localhost:80\"\n}", `ready.http = "localhost:80": want a URL`},
	"ready name":       {"command = \"a\"\nready {\n tcp = \"db.example:80\"\n}", `names are not resolved in the pod`},
	"ready tcp":        {"command = \"a\"\nready {\n tcp = \"80\"\n}", `ready.tcp = "80": want an address`},
	"ready file":       {"command = \"a\"\nready {\n file = \"x\"\n}", `ready.file = "x": want an absolute path`},
	"ready interval":   {"command = \"a\"\nready {\n file = \"/x\"\n interval = \"0s\"\n}", `ready.interval = "0s": want a duration above 0`},
	"ready timeout":    {"command = \"a\"\nready {\n file = \"/x\"\n timeout = \"x\"\n}", `ready.timeout = "x"`},
	"restart_with":     {"command = \"a\"\nrestart_with = [\"\"]", `restart_with: "": want the names of other tasks`},
	"live no check":    {"command = \"a\"\nlive {\n}", `live has 0 checks: set exactly one of exec, http, tcp and file`},
	"live exec":        {"command = \"a\"\nlive {\n exec = [\"\"]\n}", `live.exec: its first word is empty`},
	"live http":        {"command = \"a\"\nlive {\n http = \"localhost:80\"\n}", `live.http = "localhost:80": want a URL`},
	"live name":        {"command = \"a\"\nlive {\n tcp = \"db.example:80\"\n}", `live.tcp = "db.example:80": want an IP address or localhost`},
	"live file":        {"command = \"a\"\nlive {\n file = \"x\"\n}", `live.file = "x": want an absolute path`},
	"live interval":    {"command = \"a\"\nlive {\n file = \"/x\"\n interval = \"10ms\"\n}", `live.interval = "10ms": want at least "1s"`},
	"live timeout":     {"command = \"a\"\nlive {\n file = \"/x\"\n timeout = \"11s\"\n}", `live.timeout = "11s": want at most the live.interval of "10s"`},
	"live failures":    {"command = \"a\"\nlive {\n file = \"/x\"\n failures = 0\n}", `live.failures = 0: want a number above 0`},
	"kill_signal":      {"command = \"a\"\nkill_signal = \"SIGNOPE\"", `kill_signal = "SIGNOPE": `},
	"kill_timeout":     {"command = \"a\"\nkill_timeout = \"-5s\"", `kill_timeout = "-5s": want a duration above 0`},
	"pre_stop":         {"command = \"a\"\npre_stop {\n command = \"\"\n}", `pre_stop.command is empty`},
	"pre_stop timeout": {"command = \"a\"\npre_stop {\n command = \"b\"\n timeout = \"-1s\"\n}", `pre_stop.timeout = "-1s"`},
	"pod target":       {"command = \"a\"\npod_volume \"v\" {\n target = \"x\"\n}", `pod_volume "v": target = "x": want an absolute path`},
	"pod size":         {"command = \"a\"\npod_volume \"v\" {\n target = \"/x\"\n size = \"big\"\n}", `pod_volume "v": size = "big": want a number of bytes`},
	"pod_volume twice": {"command = \"a\"\ntmpfs = [\"/x\"]\npod_volume \"v\" {\n target = \"/x\"\n}", `there are two mounts at /x`},
	"shm_size":         {"command = \"a\"\nshm_size = -1", `shm_size = "-1": want a number of bytes`},
	"force_pull":       {"command = \"a\"\nforce_pull = true", `force_pull is set and image is not`},
	"policy and force": {"image = \"a\"\nforce_pull = true\nimage_pull_policy = \"never\"", `force_pull and image_pull_policy = "never" contradict each other`},
	"tty":              {"command = \"a\"\ntty = true", `tty = true: a task has no terminal`},
	"labels":           {"command = \"a\"\nlabels = { \"\" = \"a\" }", `labels: one has no name`},
	"volumes":          {"command = \"a\"\nvolumes = [\"local\"]", `volumes: "local": want "source:/target"`},
	"volume option":    {"command = \"a\"\nvolumes = [\"local:/a:nocopy\"]", `unknown option "nocopy": want ro, rw, or a propagation such as rslave; "local" is a path, since there are no named volumes`},
	"volume target":    {"command = \"a\"\nvolumes = [\"local:a\"]", `target "a": want an absolute path`},
	"volume at root":   {"command = \"a\"\nvolumes = [\"local:/\"]", `target "/" is the task's root`},
	"host volume":      {"command = \"a\"\nvolumes = [\"/etc:/a\"]", `the operator can set volumes { enabled = true }`},
	"outside":          {"command = \"a\"\nvolumes = [\"../../x:/a\"]", `the source is outside of the task's directory`},
	"other task":       {"command = \"a\"\nvolumes = [\"../db/secrets:/a\"]", `the source is outside of the task's directory`},
	"private":          {"command = \"a\"\nvolumes = [\"private/x:/a\"]", `the source is outside of the task's directory`},
	"all of the task":  {"command = \"a\"\nvolumes = [\"./:/a\"]", `the source is the task's directory itself`},
	"no propagation":   {"command = \"a\"\nvolumes = [\"local:/a:rshared\"]", `a propagation needs an absolute source`},
	"below the logs":   {"command = \"a\"\nvolumes = [\"../alloc/logs/x:/a\"]", `log files cannot be mounted one by one: want "../alloc/logs"`},
	"logs, spelled":    {"command = \"a\"\nvolumes = [\"local/../../alloc/data/../logs/x:/a\"]", `log files cannot be mounted one by one`},
	"logs, absolute":   {"command = \"a\"\nvolumes = [\"/allocs/01234567-89ab-cdef-0123-456789abcdef/alloc/logs/x:/a\"]", `log files cannot be mounted one by one`},
	"logs, bound":      {"command = \"a\"\nmount {\n type = \"bind\"\n source = \"../alloc/logs/x\"\n target = \"/a\"\n}", `log files cannot be mounted one by one`},
	"logs by Nomad":    {"command = \"a\"\nvolumes = [\"/alloc/logs/x:/a\"]", `paths of the host are not allowed here`},
	"mount at logs":    {"command = \"a\"\ntmpfs = [\"/alloc/logs\"]", `/alloc/logs is reserved for Nomad's own directory`},
	"mount in logs":    {"command = \"a\"\nvolumes = [\"local:/alloc/./logs/x\"]", `/alloc/logs/x is reserved for Nomad's own directory`},
	"two mounts":       {"command = \"a\"\nvolumes = [\"local:/a\"]\ntmpfs = [\"/a/\"]", `there are two mounts at /a`},
	"mount at alloc":   {"command = \"a\"\ntmpfs = [\"/alloc\"]", `/alloc is reserved for Nomad's own directory`},
	"mount type":       {"command = \"a\"\nmount {\n target = \"/a\"\n}", `mount at "/a": type = "": named volumes are not supported`},
	"named volume":     {"command = \"a\"\nmount {\n type = \"volume\"\n target = \"/a\"\n}", `want "bind", "tmpfs" or "image"; for persistent data use a volume of the group`},
	"npipe":            {"command = \"a\"\nmount {\n type = \"npipe\"\n target = \"/a\"\n}", `type = "npipe": want "bind", "tmpfs" or "image"`},
	"bind alone":       {"command = \"a\"\nmount {\n type = \"bind\"\n target = \"/a\"\n}", `mount at "/a": source is missing`},
	"tmpfs source":     {"command = \"a\"\nmount {\n type = \"tmpfs\"\n target = \"/a\"\n source = \"b\"\n}", `source is for type = "bind" or "image": leave it out`},
	"mount tmpfs size": {"command = \"a\"\nmount {\n type = \"tmpfs\"\n target = \"/a\"\n tmpfs_options {\n size = -1\n }\n}", `want a size in bytes`},
	"tmpfs mode":       {"command = \"a\"\nmount {\n type = \"tmpfs\"\n target = \"/a\"\n tmpfs_options {\n mode = 7777\n }\n}", `a mode in decimal`},
	"image mount":      {"command = \"a\"\nmount {\n type = \"image\"\n target = \"/a\"\n}", `mount at "/a": source is missing: want an image`},
	"image, spelled":   {"command = \"a\"\nmount {\n type = \"image\"\n source = \"UPPER CASE\"\n target = \"/a\"\n}", `mount at "/a": source: `},
	"image path":       {"command = \"a\"\nmount {\n type = \"image\"\n source = \"oci:/etc\"\n target = \"/a\"\n}", `absolute paths are not allowed here`},
	"image subpath":    {"command = \"a\"\nmount {\n type = \"image\"\n source = \"b\"\n target = \"/a\"\n image_options {\n subpath = \"x/../../y\"\n }\n}", `image_options.subpath = "x/../../y": want a path below the image's root`},
	"image policy":     {"command = \"a\"\nmount {\n type = \"image\"\n source = \"b\"\n target = \"/a\"\n image_pull_policy = \"daily\"\n}", `image_pull_policy = "daily": want "missing"`},
	"auth of a bind":   {"command = \"a\"\nmount {\n type = \"bind\"\n source = \"local\"\n target = \"/a\"\n auth {\n username = \"u\"\n password = \"p\"\n }\n}", `auth is for type = "image": leave it out`},
	"bind of an image": {"command = \"a\"\nmount {\n type = \"bind\"\n source = \"local\"\n target = \"/a\"\n image_options {\n subpath = \"x\"\n }\n}", `image_options is for type = "image": leave it out`},
	"propagation":      {"command = \"a\"\nmount {\n type = \"bind\"\n source = \"/etc\"\n target = \"/a\"\n bind_options {\n propagation = \"up\"\n }\n}", `propagation = "up": want one of private`},
	"tmpfs":            {"command = \"a\"\ntmpfs = [\"run\"]", `tmpfs: "run": target "run": want an absolute path`},
	"tmpfs size":       {"command = \"a\"\ntmpfs = [\"/run:size=big\"]", `tmpfs: "/run:size=big": option "size=big": `},
	"tmpfs option":     {"command = \"a\"\ntmpfs = [\"/run:fast\"]", `option "fast": unknown option: want size=64m`},
	"cdi name":         {"command = \"a\"\ncdi_devices = [\"gpu0\"]", `cdi_devices: "gpu0": want VENDOR/CLASS=NAME`},
	"cdi device":       {"command = \"a\"\ncdi_devices = [\"nvidia.com/gpu=0\"]", `cdi_devices: "nvidia.com/gpu=0" is not allowed here: the operator can add it to allow_devices`},
	"devices":          {"command = \"a\"\ndevices {\n host_path = \"/dev/fuse\"\n}", `devices: host_path = "/dev/fuse": this device is not allowed here: the operator can add it to allow_devices`},
	"device path":      {"command = \"a\"\ndevices {\n host_path = \"null\"\n}", `devices: host_path = "null": want the absolute path`},
	"device by ..":     {"command = \"a\"\ndevices {\n host_path = \"/dev/null/../kmsg\"\n}", `this device is not allowed here`},
	"device rights":    {"command = \"a\"\ndevices {\n host_path = \"/dev/null\"\n cgroup_permissions = \"rx\"\n}", `cgroup_permissions = "rx": want some of`},
	"device target":    {"command = \"a\"\ndevices {\n host_path = \"/dev/null\"\n container_path = \"x\"\n}", `container_path = "x": want an absolute path`},
	"ulimit":           {"command = \"a\"\nulimit = { nofile = \"many\" }", `ulimit: nofile = "many"`},
	"negative ulimit":  {"command = \"a\"\nulimit = { nofile = \"-2:5\" }", `ulimit: nofile = "-2:5": it is negative: want "soft:hard"`},
	"no such ulimit":   {"command = \"a\"\nulimit = { files = \"1\" }", `ulimit: files = "1": invalid ulimit type: files`},
	"soft ulimit":      {"command = \"a\"\nulimit = { nofile = \"2:1\" }", `ulimit: nofile = "2:1"`},
	"sysctl":           {"command = \"a\"\nsysctl = { \"vm.swappiness\" = \"1\" }", `sysctl: vm.swappiness belongs to no namespace`},
	"sysctl name":      {"command = \"a\"\nsysctl = { \"net/../kernel.x\" = \"1\" }", `sysctl: net/../kernel.x is not a name`},
	"sysctl net":       {"command = \"a\"\nsysctl = { \"net.core.somaxconn\" = \"1\" }", `sysctl: net.core.somaxconn belongs to the network namespace, which is the host's here: set mode = "bridge"`},
	"sysctl hostname":  {"command = \"a\"\nsysctl = { \"kernel.hostname\" = \"a\" }", `sysctl: kernel.hostname is set by the key hostname`},
	"sysctl ipc":       {"command = \"a\"\nipc_mode = \"host\"\nsysctl = { \"kernel.sem\" = \"1\" }", `sysctl: kernel.sem belongs to the IPC namespace`},
	"sysctl uts":       {"command = \"a\"\nuts_mode = \"host\"\nsysctl = { \"kernel.domainname\" = \"1\" }", `sysctl: kernel.domainname belongs to the UTS namespace`},
	"cpu period":       {"command = \"a\"\ncpu_hard_limit = true\ncpu_cfs_period = 10", `cpu_cfs_period = 10: want 1000 to 1000000 microseconds`},
	"period alone":     {"command = \"a\"\ncpu_cfs_period = 10000", `cpu_cfs_period is set and cpu_hard_limit is not`},
	"memory_swap":      {"command = \"a\"\nmemory_swap = \"lots\"", `memory_swap = "lots": want memory and swap together`},
	"little swap":      {"command = \"a\"\nmemory_swap = \"1m\"", `memory_swap = "1m" is below the task's memory of 64 MiB`},
	"oom_score_adj":    {"command = \"a\"\noom_score_adj = -1", `oom_score_adj = -1: want 0 to 1000`},
	"privileged":       {"command = \"a\"\nprivileged = true", `privileged is not allowed here: the operator can set allow_privileged = true`},
	"apparmor":         {"command = \"a\"\nsecurity_opt = [\"apparmor=unconfined\"]", `an AppArmor profile other than nomad-driver-pod is not allowed here: the operator can set allow_privileged = true`},
	"apparmor profile": {"command = \"a\"\nsecurity_opt = [\"apparmor:runc\"]", `an AppArmor profile other than nomad-driver-pod is not allowed`},
	"no profile":       {"command = \"a\"\nsecurity_opt = [\"apparmor=\"]", `security_opt: "apparmor=": want the name of a loaded profile`},
	"security_opt":     {"command = \"a\"\nsecurity_opt = [\"fast\"]", `security_opt: "fast": want no-new-privileges, seccomp, apparmor or label`},
	"seccomp":          {"command = \"a\"\nsecurity_opt = [\"seccomp=unconfined\"]", `security_opt: "seccomp=unconfined": another seccomp profile is not allowed here`},
	"new privileges":   {"command = \"a\"\nsecurity_opt = [\"no-new-privileges:no\"]", `want no-new-privileges=true`},
	"label":            {"command = \"a\"\nsecurity_opt = [\"label=type:x\"]", `want label=disable`},
	"runtime":          {"command = \"a\"\nruntime = \"kata\"", `runtime = "kata": want "runsc" for gVisor, or leave runtime out`},
	"no gVisor":        {"command = \"a\"\nruntime = \"runsc\"", `there is no gVisor here: the operator can set runtimes { runsc { path = "/usr/bin/runsc" } }`},
	"userns":           {"command = \"a\"\nuserns = \"keep-id\"", `userns = "keep-id": want "host"`},
	"userns_mode":      {"command = \"a\"\nuserns_mode = \"x\"", `userns_mode = "x": want "host"`},
	"mounts":           {"command = \"a\"\nmounts = [{ type = \"volume\", target = \"/x\" }]", `mount at "/x": type = "volume": named volumes are not supported`},
	"unverified TLS":   {"image = \"a\"\nauth {\n username = \"u\"\n password = \"p\"\n tls_verify = false\n}", `auth.tls_verify = false: a job cannot turn verification off`},
	"other registry":   {"image = \"a.example/b\"\nauth {\n username = \"u\"\n password = \"p\"\n server_address = \"c.example\"\n}", `auth.server_address = "c.example": the credentials are used only for the image's registry "a.example"`},
	"extra_hosts":      {"command = \"a\"\nextra_hosts = [\"db\"]", `extra_hosts: "db": want "name:address"`},
	"extra host's end": {"command = \"a\"\nextra_hosts = [\"db-:10.0.0.1\"]", `extra_hosts: "db-:10.0.0.1": the name begins or ends with a dot or a dash`},
	"nameless host":    {"command = \"a\"\nextra_hosts = [\":10.0.0.1\"]", `extra_hosts: ":10.0.0.1": want "name:address"`},
	"extra host":       {"command = \"a\"\nextra_hosts = [\"db:gateway\"]", `extra_hosts: "db:gateway": want "name:address"`},
	"two hosts files":  {"command = \"a\"\nextra_hosts = [\"db:10.0.0.1\"]\ntmpfs = [\"/etc/hosts\"]", `extra_hosts and a mount at /etc/hosts contradict`},
	"ports":            {"command = \"a\"\nports = [\"http\"]", `ports: the task's network is the host's, which has no port mapping: set mode = "bridge" in the group's network block, or leave ports out; a port "http" of that block is then ${NOMAD_PORT_http}`},
	"pull_only":        {"pull_only = true\nimage = \"a\"\ncommand = \"b\"", `command makes no sense with pull_only = true`},
	"pull nothing":     {"pull_only = true", `pull_only = true needs an image`},
	"pull and check":   {"pull_only = true\nimage = \"a\"\nready {\n file = \"/x\"\n}", `ready makes no sense with pull_only = true`},
	"pull bind":        {"pull_only = true\nimage = \"a\"\nvolumes = [\"local:/a\"]", `volumes makes no sense with pull_only = true`},
	"pull and mount":   {"pull_only = true\nmount {\n type = \"bind\"\n source = \"a\"\n target = \"/a\"\n}", `mount 1: type = "bind" makes no sense with pull_only = true: want "image"`},
	"pull no name":     {"pull_only = true\nimage = \"A\"", `image: invalid image reference "A"`},
	"no such cap":      {"command = \"a\"\ncap_add = [\"fly\"]", `cap_add: "fly" is not a capability`},
}

// TestTaskFrom_Invalid checks that the error of each invalid config names the key and the fix.
func TestTaskFrom_Invalid(t *testing.T) {
	for name, tc := range wrongTaskConfigs {
		t.Run(name, func(t *testing.T) {
			cfg := taskConfig(t, decode(t, tc.hcl))
			cfg.Resources = &drivers.Resources{NomadResources: &structs.AllocatedTaskResources{
				Memory: structs.AllocatedMemoryResources{MemoryMB: 64}}}
			_, is, err := defaults(t).pullOnly(cfg)
			if !is {
				_, err = defaults(t).taskFrom(cfg, cgroup.V2)
			}
			must.ErrorContains(t, err, tc.want)
		})
	}
}

func TestPullOnly_Valid(t *testing.T) {
	for _, hcl := range []string{
		"image = \"a\"", "image = \"a\"\nforce_pull = true\nplatform = \"linux/arm64\"\nauth {\n username = \"u\"\n password = \"p\"\n}",
		"image = \"a\"\nmount {\n type = \"image\"\n source = \"b\"\n target = \"/b\"\n}", "mounts = [{ type = \"image\", source = \"b\", target = \"/b\" }]",
	} {
		_, is, err := defaults(t).pullOnly(taskConfig(t, decode(t, "pull_only = true\n"+hcl)))
		must.NoError(t, err, must.Sprint(hcl))
		must.True(t, is)
	}
}

func TestTaskFrom_ReportsAllErrors(t *testing.T) {
	_, err := defaults(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\nwork_dir = \"b\"\nshare = [\"x\"]")), cgroup.V2)
	must.ErrorContains(t, err, "work_dir")
	must.ErrorContains(t, err, "share")
}

func TestNewSettings_Invalid(t *testing.T) {
	good := PluginConfig{LogCollector: "pod", PodLinger: "1m", Image: ImageConfig{PullTimeout: "5m", PullActivityTimeout: "1m"}}
	for name, tc := range map[string]struct {
		change func(*PluginConfig)
		want   string
	}{
		"linger":   {func(c *PluginConfig) { c.PodLinger = "long" }, `pod_linger = "long": want a duration`},
		"activity": {func(c *PluginConfig) { c.Image.PullActivityTimeout = "-1s" }, `image.pull_activity_timeout = "-1s": want a duration`},
		"policy":   {func(c *PluginConfig) { c.Image.SignaturePolicy = "policy.json" }, `image.signature_policy = "policy.json": want an absolute path`},
		"images":   {func(c *PluginConfig) { c.Image.Paths = []string{"images"} }, `image.paths: "images": want an absolute path`},
		"mirrors":  {func(c *PluginConfig) { c.Image.RegistriesConf = "r.conf" }, `image.registries_conf = "r.conf": want an absolute path`},
		"logs":     {func(c *PluginConfig) { c.LogCollector = "me" }, `log_collector = "me": want "pod" or "nomad"`},
		"index":    {func(c *PluginConfig) { c.LogIndex = "pods" }, `log_index = "pods": want an absolute path below /`},
		"index /":  {func(c *PluginConfig) { c.LogIndex = "/../" }, `log_index = "/../": want an absolute path below /`},
		"no index": {func(c *PluginConfig) { c.LogIndex, c.LogCollector = "/index", "nomad" },
			`log_index is set and log_collector is "nomad", which keeps no index`},
		"only meta": {func(c *PluginConfig) { c.LogIndexMeta = []string{"team"} }, `log_index_meta is set and log_index is not`},
		"empty key": {func(c *PluginConfig) { c.LogIndex, c.LogIndexMeta = "/index", []string{""} }, `log_index_meta: one key is empty`},
		"many keys": {func(c *PluginConfig) { c.LogIndex, c.LogIndexMeta = "/index", make([]string, 33) }, `log_index_meta: want at most 32 keys`},
		"run_dir":   {func(c *PluginConfig) { c.RunDir = "/run/a,b" }, `run_dir = "/run/a,b": want a path without a comma`},
		"runtime":   {func(c *PluginConfig) { c.Runtime = "crun" }, `runtime = "crun": want an absolute path`},
		"runsc":     {func(c *PluginConfig) { c.Runtimes.Runsc = &RunscConfig{Path: "runsc"} }, `runtimes.runsc.path = "runsc": want an absolute path`},
		"runsc arg": {func(c *PluginConfig) { c.Runtimes.Runsc = &RunscConfig{Path: "/r", Args: []string{"--debug"}} }, `runtimes.runsc.args: "--debug": want a flag of runsc with its value`},
		"own flag":  {func(c *PluginConfig) { c.Runtimes.Runsc = &RunscConfig{Path: "/r", Args: []string{"-root=/r"}} }, `runtimes.runsc.args: "-root=/r": the driver sets this flag`},
		"offline":   {func(c *PluginConfig) { c.Runtimes.Runsc = &RunscConfig{Path: "/r", Args: []string{"--network=none"}} }, `the network of a pod is the group's`},
		"host path": {func(c *PluginConfig) { c.HostPaths = []string{"usr"} }, `host path "usr": want "/path"`},
		"missing":   {func(c *PluginConfig) { c.HostPaths = []string{"/no/such"} }, `host_paths: "/no/such"`},
		"root":      {func(c *PluginConfig) { c.HostPaths = []string{"/"} }, `host path "/"`},
		"caps":      {func(c *PluginConfig) { c.AllowCaps = []string{"fly"} }, `allow_caps: "fly" is not a capability`},
		"devices":   {func(c *PluginConfig) { c.AllowDevices = []string{"/dev/[a"} }, `allow_devices: "/dev/[a": want a path`},
		"cdi":       {func(c *PluginConfig) { c.AllowDevices = []string{"nvidia.com/gpu"} }, `or a CDI device such as "vendor.com/class=*"`},
		"cdi dir":   {func(c *PluginConfig) { c.CDISpecDirs = []string{"cdi"} }, `cdi_spec_dirs: "cdi": want an absolute path`},
		"scraped":   {func(c *PluginConfig) { c.Metrics.Address = "0.0.0.0:9630" }, `metrics.address = "0.0.0.0:9630": want "unix:/path/of/socket", or a port of a loopback address`},
		"textfile":  {func(c *PluginConfig) { c.Metrics.Textfile = "/run/metrics" }, `metrics.textfile = "/run/metrics": want an absolute path that ends in .prom`},
		"pids":      {func(c *PluginConfig) { c.PidsLimit = -1 }, `pids_limit = -1`},
		"mode":      {func(c *PluginConfig) { c.AllowedModes.IPC = []string{"host", "task:*"} }, `allowed_modes.ipc: "task:*" matches no mode of this driver: want "host"`},
		"stores":    {func(c *PluginConfig) { c.Image.AdditionalStores = []string{"images"} }, `image.additional_stores: "images": want an absolute path without a comma`},
		"over disk": {func(c *PluginConfig) { c.Image.GCHigh = "120%" }, `image.gc_high = "120%": want a part of the file system of data_dir from "0%" to "99%"`},
		"no unit":   {func(c *PluginConfig) { c.Image.GCHigh = "85" }, `image.gc_high = "85": want a part`},
		"all disk":  {func(c *PluginConfig) { c.Image.GCHigh = "0%" }, `image.gc_high = "0%": want at least "1%"`},
		"signed":    {func(c *PluginConfig) { c.Image.GCHigh, c.Image.GCLow = "85%", "-5%" }, `image.gc_low = "-5%": want a part`},
		"gc order":  {func(c *PluginConfig) { c.Image.GCHigh, c.Image.GCLow = "75%", "85%" }, `image.gc_low = "85%" is above image.gc_high = "75%": want at most gc_high`},
		"gc alone":  {func(c *PluginConfig) { c.Image.GCLow = "85%" }, `image.gc_low = "85%" has no effect without gc_high`},
		"keep":      {func(c *PluginConfig) { c.Image.Keep = []string{"registry.example/[a"} }, `image.keep: invalid image configuration: "registry.example/[a" is not a pattern`},
		"user mode": {func(c *PluginConfig) { c.AllowedModes.Userns = []string{""} }, `allowed_modes.userns: "" matches no mode`},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			tc.change(&c)
			_, err := newSettings(c)
			must.ErrorContains(t, err, tc.want)
		})
	}
}

func TestImageLimits(t *testing.T) {
	for _, tc := range []struct {
		high, low string
		want      [2]int
	}{{"", "", [2]int{0, 0}}, {"85%", "", [2]int{85, 75}}, {"5%", "", [2]int{5, 0}}, {"85%", "0%", [2]int{85, 0}}, {"50%", "50%", [2]int{50, 50}}} {
		high, low, err := ImageConfig{GCHigh: tc.high, GCLow: tc.low}.limits()
		must.NoError(t, err)
		must.Eq(t, tc.want, [2]int{high, low}, must.Sprint(tc.high, " ", tc.low))
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
		must.Eq(t, time.Minute, s.pullIdleTimeout)
		must.Eq(t, 3*time.Minute, s.gcDelay)
		must.Eq(t, time.Minute, s.podLinger)
		must.Eq(t, 4096, s.PidsLimit)
		must.SliceContains(t, s.hostPaths, pod.HostPath{HostPath: "/usr", TaskPath: "/usr"})
		java, err := filepath.Glob("/etc/java-*")
		must.NoError(t, err)
		for _, dir := range java { // configuration of Debian's JDK
			must.SliceContains(t, s.hostPaths, pod.HostPath{HostPath: dir, TaskPath: dir})
		}
	}
}

// Each namespace of the host needs its own entry, unless the operator allows all of them.
func TestAllowedModes(t *testing.T) {
	modes := []string{"pid", "ipc", "uts"}
	for config, allowed := range map[string][]string{
		"":                                    nil,
		"allowed_modes {}":                    nil,
		"allow_host_namespaces = true":        modes,
		`allowed_modes { userns = ["host"] }`: nil,
		`allowed_modes { pid = ["host"] }`:    {"pid"},
		`allowed_modes {
			ipc = ["*"]
			uts = ["host"]
		}`: {"ipc", "uts"},
	} {
		var c PluginConfig
		hclutils.NewConfigParser(pluginConfigSpec()).ParseHCL(t, "config {\n"+config+"\n}", &c)
		s, err := newSettings(c)
		must.NoError(t, err)
		for _, mode := range modes {
			_, err := s.taskFrom(taskConfig(t, decode(t, "command = \"a\"\n"+mode+"_mode = \"host\"")), cgroup.V2)
			if slices.Contains(allowed, mode) {
				must.NoError(t, err, must.Sprint(config, mode))
			} else {
				must.ErrorContains(t, err, mode+`_mode = "host" is not allowed here`, must.Sprint(config))
			}
		}
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

// MemoryLimitBytes of LinuxResources is wrong if a task has no hard limit.
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

func TestCgroupPath(t *testing.T) {
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

// A host name of only digits would be parsed as an address.
func TestHostname_NotNumeric(t *testing.T) {
	for id, want := range map[string]string{
		"0fa34b21-89ab-cdef-0123-456789abcdef": "0fa34b21",
		"75579251-89ab-cdef-0123-456789abcdef": "75579251-89ab",
		"1e100000-89ab-cdef-0123-456789abcdef": "1e100000",
	} {
		must.Eq(t, want, hostname(TaskConfig{}, &drivers.TaskConfig{AllocID: id}))
	}
	must.Eq(t, "12345678", hostname(TaskConfig{Hostname: "12345678"}, &drivers.TaskConfig{}))
}

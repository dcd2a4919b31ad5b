package driver_test

import (
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// Trap D6 (CVE-2026-14891): a key that weakens the confinement is refused by name unless the
// operator allows it, and leaves nothing behind.
func TestStart_RefusesDisallowedKeys(t *testing.T) {
	device := func(path, permissions string) driver.TaskConfig {
		return driver.TaskConfig{Devices: []driver.DeviceConfig{{HostPath: path, CgroupPermissions: permissions}}}
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.AllowDevices, c.AllowCaps = runtime, []string{"/dev/net/*"}, []string{"chown", "kill"}
		})
		other := n.startBystander()
		for name, tc := range map[string]struct {
			config driver.TaskConfig
			want   string
		}{
			"pid":              {driver.TaskConfig{PidMode: "host"}, "pid_mode"},
			"ipc":              {driver.TaskConfig{IPCMode: "host"}, "ipc_mode"},
			"uts":              {driver.TaskConfig{UTSMode: "host"}, "uts_mode"},
			"pid of a task":    {driver.TaskConfig{PidMode: "container:" + other.AllocID}, "pid_mode"},
			"a path":           {driver.TaskConfig{IPCMode: "/proc/1/ns/ipc"}, "ipc_mode"},
			"userns":           {driver.TaskConfig{Userns: "/proc/1/ns/user"}, "userns"},
			"privileged":       {driver.TaskConfig{Privileged: true}, "privileged is not allowed"},
			"seccomp":          {driver.TaskConfig{SecurityOpt: []string{"seccomp=unconfined"}}, "seccomp"},
			"seccomp, spelled": {driver.TaskConfig{SecurityOpt: []string{"seccomp:unconfined"}}, "seccomp"},
			"apparmor":         {driver.TaskConfig{SecurityOpt: []string{"apparmor=unconfined"}}, "AppArmor"},
			"apparmor, named":  {driver.TaskConfig{SecurityOpt: []string{"apparmor:crun"}}, "AppArmor"},
			"systempaths":      {driver.TaskConfig{SecurityOpt: []string{"systempaths=unconfined"}}, "security_opt"},
			"cap":              {driver.TaskConfig{CapAdd: []string{"sys_admin"}}, "cap_add"},
			"cap, spelled":     {driver.TaskConfig{CapAdd: []string{"CAP_SYS_PTRACE"}}, "cap_add"},
			"every cap":        {driver.TaskConfig{CapAdd: []string{"ALL"}}, "cap_add"},
			"disk":             {device("/dev/vda", "r"), "/dev/vda"},
			"memory":           {device("/dev/mem", "r"), "/dev/mem"},
			"out of a pattern": {device("/dev/net/../mem", "r"), "/dev/net/../mem"},
			"relative device":  {device("dev/mem", "r"), "dev/mem"},
			"kmsg by proc":     {device("/proc/1/root/dev/kmsg", "r"), "/proc/1/root/dev/kmsg"},
			"volume":           {driver.TaskConfig{Volumes: []string{"/etc:/host"}}, "volumes"},
			"bind":             {driver.TaskConfig{Mounts: []driver.MountConfig{{Type: "bind", Source: "/", Target: "/host"}}}, "mount"},
			"shared mounts":    {driver.TaskConfig{Volumes: []string{"local:/l:rshared"}}, "propagation"},
			"sysctl":           {driver.TaskConfig{Sysctl: map[string]string{"kernel.core_pattern": "|/x"}}, "sysctl"},
			"sysctl of a net":  {driver.TaskConfig{Sysctl: map[string]string{"net.ipv4.ip_forward": "1"}}, "sysctl"},
			"sysctl by path":   {driver.TaskConfig{Sysctl: map[string]string{"kernel/../vm/swappiness": "1"}}, "sysctl"},
			"shielded":         {driver.TaskConfig{OOMScoreAdj: -1000}, "oom_score_adj"},
			"more processes":   {driver.TaskConfig{PidsLimit: 100000}, "pids_limit"},
		} {
			tc.config.Command, tc.config.Args = "/bin/sleep", []string{"600"}
			tk := n.newTask("", "forbidden", tc.config, quiet)
			must.ErrorContains(t, n.startError(tk), tc.want, must.Sprint(name))
		}
		for _, try := range []func(*drivers.TaskConfig){
			func(c *drivers.TaskConfig) { c.AllocID = "../" + other.AllocID }, func(c *drivers.TaskConfig) { c.AllocID = "" },
			func(c *drivers.TaskConfig) { c.Name = ".." }, func(c *drivers.TaskConfig) { c.Name = "a/b" },
		} {
			tk := n.newTask("", "named", sh("exit 0"), quiet)
			try(tk.TaskConfig)
			_, _, err := n.StartTask(tk.TaskConfig)
			must.ErrorContains(t, err, "invalid task")
		}
		other.checkUnharmed()
	})
}

// TestStart_NoHostDevices checks that a task can use only the harmless default devices, even if it
// creates other device nodes itself.
func TestStart_NoHostDevices(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "maker", sh("exec sleep 600"), quietRoot)
		tk.start()
		tries := []string{}
		for _, node := range []string{"c 1 1", "c 1 2", "c 1 4", "c 1 11", "b 254 0", "b 7 0", "c 10 200", "c 10 229", "c 10 237", "c 4 64"} {
			tries = append(tries, "mknod /tmp/node "+node+" && (head -c 1 /tmp/node || echo x > /tmp/node); r=$?; rm -f /tmp/node; exit $r")
		}
		tk.attempt(tries...)
		tk.exec("head -c 1 /dev/zero > /dev/null; ls /dev | grep -vx 'console\\|core\\|fd\\|full\\|mqueue\\|null\\|ptmx\\|pts\\|random\\|shm\\|stderr\\|stdin\\|stdout\\|tty\\|urandom\\|zero' && exit 1 || true")
	})
}

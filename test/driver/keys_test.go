package driver_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

// scenario is a task and the observations of its keys from inside.
type scenario struct {
	config driver.TaskConfig // without a command, the task sleeps
	change func(*drivers.TaskConfig)
	// before is called after the creation of the task's directories.
	before       func(t *testing.T, tk *task)
	observations []observation
}

// observation is the expected output of a script in the task because of a key.
type observation struct {
	key, script, want string
}

// TestKeys_SeenFromInside checks each key whose effect is visible inside the task.
func TestKeys_SeenFromInside(t *testing.T) {
	sandbox.Require(t)
	host := t.TempDir()
	must.NoError(t, os.Chmod(host, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(host, "file"), []byte("of the host\n"), 0o644))
	profile := filepath.Join(host, "seccomp.json")
	must.NoError(t, os.WriteFile(profile, []byte(`{"defaultAction": "SCMP_ACT_ALLOW",
		"syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]}`), 0o644))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime = runtime
			c.AllowPrivileged, c.Volumes.Enabled = true, true
			c.AllowCaps = []string{"all"}
		})
		for name, s := range map[string]scenario{
			"mounts": mountScenario(host), "limits": limitScenario(), "unlimited": unlimitedScenario(),
			"process": processScenario(), "seccomp": seccompScenario(profile), "unconfined": unconfinedScenario(),
			"privileged": privilegedScenario(),
		} {
			t.Run(name, func(t *testing.T) { n.observe(t, name, s) })
		}
	})
}

func (n *node) observe(t *testing.T, name string, s scenario) {
	s.config.Command, s.config.Args = "/bin/sh", []string{"-c", "trap 'exit 9' USR1; echo up; while :; do sleep 600 & wait $!; done"}
	tk := n.newTask("", name, s.config, s.change)
	if s.before != nil {
		s.before(t, tk)
	}
	tk.start()
	tk.output("stdout", contains("up"))
	// Run all scripts in one command, since each command is slow.
	const mark = "@@@ next"
	var script strings.Builder
	for _, o := range s.observations {
		fmt.Fprintf(&script, "echo '%s'; ( %s ) 2>&1\n", mark, o.script)
	}
	answers := strings.Split(tk.exec(script.String()+"true"), mark)[1:]
	must.Eq(t, len(s.observations), len(answers))
	for i, o := range s.observations {
		t.Run(o.key, func(t *testing.T) {
			must.Eq(t, o.want, strings.TrimSpace(answers[i]), must.Sprint(o.script))
		})
	}
}

func asRoot(c *drivers.TaskConfig) { c.User = "root" }

// mountOptions prints the options of the mount at a path.
func mountOptions(path string) string {
	return fmt.Sprintf(`awk '$5 == "%s" { print $6 }' /proc/self/mountinfo | tr , '\n' | grep -E '^(ro|rw|noexec)$' | xargs`, path)
}

func mountScenario(host string) scenario {
	return scenario{
		config: driver.TaskConfig{
			ReadonlyRootfs: true,
			Volumes: []string{"local/conf:/conf:ro", "local/one:/one", "local/new/dir:/new", "../alloc:/shared", "../alloc/data:/data:z",
				host + ":/host:ro,rslave"},
			Mounts: []driver.MountConfig{
				{Type: "bind", Source: host, Target: "/bound", BindOptions: driver.BindOptions{Propagation: "rslave"}},
				{Type: "bind", Source: "local/conf", Target: "/conf2", Readonly: true},
				{Type: "tmpfs", Target: "/scratch", TmpfsOptions: driver.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o700}},
			},
			Tmpfs:   []string{"/scratch/below/cache:size=2m,mode=0750,uid=1234,exec", "/run"},
			Devices: []driver.DeviceConfig{{HostPath: "/dev/fuse", ContainerPath: "/dev/own", CgroupPermissions: "r"}},
		},
		change: asRoot,
		before: func(t *testing.T, tk *task) {
			local := tk.TaskDir().LocalDir
			must.NoError(t, os.Mkdir(filepath.Join(local, "conf"), 0o755))
			for name, text := range map[string]string{"conf/app": "configured\n", "one": "single\n"} {
				must.NoError(t, os.WriteFile(filepath.Join(local, name), []byte(text), 0o644))
			}
		},
		observations: []observation{
			{"volumes", "cat /conf/app", "configured"},
			{"volumes ro", mountOptions("/conf"), "ro"},
			{"volumes file", "cat /one; echo more >> /one; tail -n1 /local/one", "single\nmore"},
			{"volumes made", "echo x > /new/file && cat /local/new/dir/file", "x"},
			{"volumes alloc", "echo y > /shared/data/file && cat /alloc/data/file /data/file", "y\ny"},
			{"volumes logs", "(echo z > /shared/logs/file) 2>/dev/null || echo refused", "refused"},
			{"volumes host", "cat /host/file; (echo z > /host/file) 2>/dev/null || echo refused", "of the host\nrefused"},
			{"mount bind", "cat /bound/file; grep -c ' /bound .*master:' /proc/self/mountinfo", "of the host\n1"},
			{"mount readonly", mountOptions("/conf2"), "ro"},
			{"mount tmpfs", "stat -f -c %T /scratch; stat -c %a /scratch; df -k --output=size /scratch | tail -n1 | tr -d ' '", "tmpfs\n700\n1024"},
			{"tmpfs", "stat -c '%a %u' /scratch/below/cache; df -k --output=size /scratch/below/cache | tail -n1 | tr -d ' '", "750 1234\n2048"},
			{"tmpfs exec", mountOptions("/scratch/below/cache"), "rw"},
			{"tmpfs default", mountOptions("/run"), "rw noexec"},
			{"devices", "stat -c %t:%T /dev/own; head -c0 /dev/own 2>&1 | grep -c 'not permitted'; (: > /dev/own) 2>&1 | grep -c 'not permitted'", "a:e5\n0\n1"},
			{"readonly_rootfs", "touch /file 2>&1 | grep -c 'Read-only'; touch /tmp/file 2>&1 | grep -c 'Read-only'", "1\n1"},
		},
	}
}

// catCgroup prints a value of the task's cgroup, from the file of v1 or of v2.
func catCgroup(v1, v2 string) string {
	return fmt.Sprintf("cat /sys/fs/cgroup/%s 2>/dev/null || cat /sys/fs/cgroup/%s", v1, v2)
}

// onV2 returns v2 on cgroup v2 and v1 otherwise.
func onV2(v1, v2 string) string {
	if v, err := cgroup.Detect(); err == nil && v == cgroup.V2 {
		return v2
	}
	return v1
}

func limitScenario() scenario {
	return scenario{
		config: driver.TaskConfig{
			Ulimit:       map[string]string{"nofile": "100:200", "core": "0"},
			Sysctl:       map[string]string{"net.core.somaxconn": "77", "kernel.msgmax": "4242", "kernel.domainname": "example.test"},
			Share:        []string{},
			CPUHardLimit: true, CPUCFSPeriod: 50000,
			MemorySwap: "96m", OOMScoreAdj: 500, PidsLimit: 123,
		},
		change: func(c *drivers.TaskConfig) {
			c.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
			c.Resources.LinuxResources.PercentTicks = 0.25
			c.Resources.LinuxResources.CpusetCpus = "0"
		},
		observations: []observation{
			{"ulimit", "awk '/open files/ { print $4, $5 } /core file/ { print $5, $6 }' /proc/1/limits", "0 0\n100 200"},
			{"sysctl", "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/kernel/domainname", "77\n4242\nexample.test"},
			{"cpu_hard_limit", catCgroup("cpu/cpu.cfs_quota_us", "cpu.max"), onV2(quota(0.25, 50000), quota(0.25, 50000)+" 50000")},
			{"cpu_cfs_period", catCgroup("cpu/cpu.cfs_period_us", "cpu.max"), onV2("50000", quota(0.25, 50000)+" 50000")},
			{"memory_swap", catCgroup("memory/memory.memsw.limit_in_bytes", "memory.swap.max"), onV2(fmt.Sprint(96<<20), fmt.Sprint(32<<20))},
			{"resources memory", catCgroup("memory/memory.limit_in_bytes", "memory.max"), fmt.Sprint(64 << 20)},
			{"pids_limit", catCgroup("pids/pids.max", "pids.max"), "123"},
			{"oom_score_adj", "cat /proc/1/oom_score_adj", "500"},
			{"resources cores", "awk '/Cpus_allowed_list/ { print $2 }' /proc/1/status", onV2("0", strings.TrimSpace(allowedCPUs()))},
			{"share", "readlink /proc/1/ns/ipc | grep -c ipc", "1"},
		},
	}
}

func quota(part float64, period int) string {
	return fmt.Sprint(int64(part * float64(period) * float64(cpus())))
}

func unlimitedScenario() scenario {
	return scenario{
		change: func(c *drivers.TaskConfig) {
			c.User = "daemon:adm"
			c.Resources.NomadResources.Memory.MemoryMaxMB = -1
		},
		observations: []observation{
			{"resources memory_max", catCgroup("memory/memory.limit_in_bytes", "memory.max"), onV2("9223372036854771712", "max")},
			{"resources memory", catCgroup("memory/memory.soft_limit_in_bytes", "memory.low"), fmt.Sprint(64 << 20)},
			{"user", "id -un; id -gn; id -G", "daemon\nadm\n4"},
			{"no ulimit", "awk '/core file/ { print $5 == $6 || $5 == 0 }' /proc/1/limits", "1"},
		},
	}
}

func processScenario() scenario {
	return scenario{
		config: driver.TaskConfig{
			Init: true, GroupAdd: []string{"adm", "4321"}, WorkDir: "/made/here", Hostname: "named",
			ExtraHosts:  []string{"db:10.1.2.3", "six:fd00::1"},
			SecurityOpt: []string{"no-new-privileges=false", "label=disable"},
			UsernsMode:  "host", CapAdd: []string{"net_raw"}, CapDrop: []string{"all"},
		},
		change: func(c *drivers.TaskConfig) { c.User = "1234:5678" },
		observations: []observation{
			{"init", "tr '\\0' ' ' < /proc/1/cmdline | cut -c1-21", "/dev/init -- /bin/sh"},
			{"init reaps", "(sh -c 'sh -c \"exit 0\" &') ; for i in $(seq 50); do ps ax -o stat= | grep -q Z || { echo clean; exit; }; done; echo zombie", "clean"},
			{"user", "id -u; id -g", "1234\n5678"},
			{"group_add", "awk '/Groups/ { print $2, $3 }' /proc/1/status", "4 4321"},
			{"work_dir", "readlink /proc/1/cwd; stat -c %a /made/here", "/made/here\n755"},
			{"hostname", "hostname", "named"},
			{"extra_hosts", "tail -n2 /etc/hosts; grep -c localhost /etc/hosts | tr -d '\\n' | sed 's/^[1-9].*/some/'", "10.1.2.3 db\nfd00::1 six\nsome"},
			{"security_opt", "awk '/NoNewPrivs/ { print $2 } /Seccomp:/ { print $2 }' /proc/1/status", "0\n2"},
			{"userns_mode", "awk '{ print $1, $2 }' /proc/self/uid_map", "0 0"},
			{"cap_add cap_drop", "awk '/CapBnd/ { print $2 }' /proc/1/status", "0000000000002000"},
		},
	}
}

func seccompScenario(profile string) scenario {
	return scenario{
		config:       driver.TaskConfig{SecurityOpt: []string{"seccomp=" + profile}},
		change:       func(c *drivers.TaskConfig) { c.User = "33" },
		observations: []observation{{"user", "id -u; id -gn", "33\nwww-data"}, {"security_opt seccomp", "mkdir /tmp/x 2>/dev/null || echo refused; awk '/Seccomp:/ { print $2 }' /proc/1/status", "refused\n2"}},
	}
}

func unconfinedScenario() scenario {
	return scenario{
		config:       driver.TaskConfig{SecurityOpt: []string{"seccomp=unconfined", "no-new-privileges"}},
		observations: []observation{{"security_opt", "awk '/NoNewPrivs/ { print $2 } /Seccomp:/ { print $2 }' /proc/1/status", "1\n0"}},
	}
}

func privilegedScenario() scenario {
	return scenario{
		config: driver.TaskConfig{Privileged: true},
		change: asRoot,
		observations: []observation{
			{"privileged", "awk '/NoNewPrivs/ { print $2 } /Seccomp:/ { print $2 } /CapEff/ { print $2 }' /proc/1/status", ownBoundingSet() + "\n0\n0"},
			{"privileged devices", "stat -c %t:%T /dev/kmsg; head -c0 /dev/kmsg && echo open", "1:b\nopen"},
			{"privileged mounts", "mount -t tmpfs none /tmp && echo mounted; " +
				"awk '$2 == \"/sys\" { print $4 }' /proc/self/mounts | cut -c1-2; [ -w /proc/sys/vm/swappiness ] && echo writable", "mounted\nrw\nwritable"},
		},
	}
}

// TestKillSignal checks that a task gets its kill_signal.
func TestKillSignal(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for _, init := range []bool{false, true} {
			config := sh("trap 'exit 9' USR1; echo up; while :; do sleep 600 & wait $!; done")
			config.Init = init
			tk := n.newTask("", "signal", config, nil)
			tk.start()
			tk.output("stdout", contains("up"))
			must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGUSR1"))
			must.Eq(t, 9, tk.wait().ExitCode)
		}
	})
}

// TestLabels_Annotations checks that labels do not become annotations that a runtime interprets.
func TestLabels_Annotations(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("echo up; exec sleep 600")
		config.Labels = map[string]string{"team": "web", "run.oci.handler": "none"}
		tk := n.newTask("", "labels", config, nil)
		tk.start()
		must.Eq(t, map[string]string{"team": "web", "run.oci.handler": "none"}, n.labels(tk))
	})
}

// labels returns the task's labels from its spec. The only other annotations are the driver's own.
func (n *node) labels(tk *task) map[string]string {
	n.t.Helper()
	paths, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", tk.AllocID, "tasks", "*", "config.json"))
	must.NoError(n.t, err)
	must.SliceLen(n.t, 1, paths)
	b, err := os.ReadFile(paths[0])
	must.NoError(n.t, err)
	var spec specs.Spec
	must.NoError(n.t, json.Unmarshal(b, &spec))
	labels := map[string]string{}
	for k, v := range spec.Annotations {
		if k == "run.oci.seccomp_bpf_data" {
			continue // crun's cached seccomp filter
		}
		must.StrHasPrefix(n.t, "org.nomadproject.", k)
		if label, ok := strings.CutPrefix(k, "org.nomadproject.label."); ok {
			labels[label] = v
		}
	}
	return labels
}

// Trap D5, CVE-2026-14896: a volume does not follow a symlink in the task's directory.
func TestVolume_SymlinkInTaskDirectory(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for _, source := range []string{"local/link", "local/link/new"} {
			config := sh("ls /conf")
			config.Volumes = []string{source + ":/conf"}
			tk := n.newTask("", "link", config, func(c *drivers.TaskConfig) { c.StdoutPath, c.StderrPath = os.DevNull, os.DevNull })
			must.NoError(t, os.Symlink("/etc", filepath.Join(tk.TaskDir().LocalDir, "link")))
			_, _, err := n.StartTask(tk.TaskConfig)
			must.ErrorContains(t, err, "symbolic link", must.Sprint(source))
			must.ErrorContains(t, err, "/conf", must.Sprint(source))
		}
		_, err := os.Stat("/etc/new")
		must.ErrorIs(t, err, os.ErrNotExist)
	})
}

// TestLimits_CPUHardLimit checks that the limit applies even on an idle host.
func TestLimits_CPUHardLimit(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := sh("echo up; while :; do :; done")
		config.CPUHardLimit = true
		tk := n.newTask("", "hard", config, func(c *drivers.TaskConfig) {
			c.Resources.LinuxResources.PercentTicks = 0.1 / float64(cpus())
		})
		tk.start()
		tk.output("stdout", contains("up"))
		n.waitFor("the task to be throttled", func() bool {
			ch, err := n.TaskStats(t.Context(), tk.ID, 20*time.Millisecond)
			must.NoError(t, err)
			return (<-ch).ResourceUsage.CpuStats.ThrottledPeriods > 3
		})
	})
}

package driver_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// keyTests names, for each key of a task, the test in which a real task demonstrates its effect.
// Tests of package driver cover invalid values.
var keyTests = map[string]string{
	"image":                          "TestStart_Image",
	"image_pull_policy":              "TestPull_Policy",
	"force_pull":                     "TestPull_Policy",
	"image_pull_timeout":             "TestPull_Policy",
	"auth":                           "TestRegistryCredentials",
	"auth.username":                  "TestRegistryCredentials",
	"auth.password":                  "TestRegistryCredentials",
	"auth.server_address":            "", // no effect; must be the image's registry
	"auth.email":                     "", // ignored
	"auth.tls_verify":                "", // only its default is accepted
	"platform":                       "TestPull_Platform",
	"pull_only":                      "TestPullOnly",
	"entrypoint":                     "TestPull_Platform",
	"command":                        "TestKeys_SeenFromInside",
	"args":                           "TestKeys_SeenFromInside",
	"work_dir":                       "TestKeys_SeenFromInside",
	"init":                           "TestKeys_SeenFromInside",
	"tty":                            "", // only its default is accepted
	"group_add":                      "TestKeys_SeenFromInside",
	"labels":                         "TestLabels_Annotations",
	"share":                          "TestKeys_SeenFromInside",
	"hostname":                       "TestKeys_SeenFromInside",
	"pid_mode":                       "TestNamespaces_Host",
	"ipc_mode":                       "TestNamespaces_Host",
	"uts_mode":                       "TestNamespaces_Host",
	"ready":                          "TestReady_StartWaits",
	"ready.exec":                     "TestReady_StartWaits",
	"ready.http":                     "TestReady_StartWaits",
	"ready.tcp":                      "TestReady_StartWaits",
	"ready.file":                     "TestReady_StartWaits",
	"ready.interval":                 "TestReady_StartWaits",
	"ready.timeout":                  "TestReady_Timeout",
	"after":                          "TestAfter_StartAndStopOrder",
	"live":                           "TestLive_EndsTask",
	"live.exec":                      "TestLive_EndsTask",
	"live.http":                      "TestLive_EndsTask",
	"live.tcp":                       "TestLive_EndsTask",
	"live.file":                      "TestLive_EndsTask",
	"live.interval":                  "TestLive_EndsTask",
	"live.timeout":                   "TestLive_EndsTask",
	"live.failures":                  "TestLive_EndsTask",
	"kill_signal":                    "TestLive_EndsTask",
	"kill_timeout":                   "TestLive_KillTimeout",
	"restart_with":                   "TestRestartWith_PartnerEnds",
	"pre_stop":                       "TestPreStop_BeforeSignal",
	"pre_stop.command":               "TestPreStop_BeforeSignal",
	"pre_stop.args":                  "TestPreStop_BeforeSignal",
	"pre_stop.timeout":               "TestPreStop_BeforeSignal",
	"pod_volume":                     "TestPodVolume_Shared",
	"pod_volume.target":              "TestPodVolume_Shared",
	"pod_volume.size":                "TestPodVolume_Shared",
	"pod_volume.readonly":            "TestPodVolume_Shared",
	"shm_size":                       "TestSharedMemory_Size",
	"volumes":                        "TestKeys_SeenFromInside",
	"mounts":                         "TestMounts_KeepFlagsOfSource",
	"mount":                          "TestKeys_SeenFromInside",
	"mount.type":                     "TestKeys_SeenFromInside",
	"mount.source":                   "TestKeys_SeenFromInside",
	"mount.target":                   "TestKeys_SeenFromInside",
	"mount.readonly":                 "TestKeys_SeenFromInside",
	"mount.bind_options":             "TestKeys_SeenFromInside",
	"mount.bind_options.propagation": "TestKeys_SeenFromInside",
	"mount.tmpfs_options":            "TestKeys_SeenFromInside",
	"mount.tmpfs_options.size":       "TestKeys_SeenFromInside",
	"mount.tmpfs_options.mode":       "TestKeys_SeenFromInside",
	"mount.image_options":            "TestImageMount",
	"mount.image_options.subpath":    "TestImageMount",
	"mount.image_pull_policy":        "TestImageMount_PullPolicy",
	"mount.auth":                     "TestRegistryCredentials",
	"mount.auth.username":            "TestRegistryCredentials",
	"mount.auth.password":            "TestRegistryCredentials",
	"tmpfs":                          "TestKeys_SeenFromInside",
	"devices":                        "TestKeys_SeenFromInside",
	"devices.host_path":              "TestKeys_SeenFromInside",
	"devices.container_path":         "TestKeys_SeenFromInside",
	"devices.cgroup_permissions":     "TestKeys_SeenFromInside",
	"cdi_devices":                    "TestCDI",
	"pids_limit":                     "TestKeys_SeenFromInside",
	"ulimit":                         "TestKeys_SeenFromInside",
	"sysctl":                         "TestKeys_SeenFromInside",
	"cpu_hard_limit":                 "TestLimits_CPUHardLimit",
	"cpu_cfs_period":                 "TestKeys_SeenFromInside",
	"memory_swap":                    "TestKeys_SeenFromInside",
	"oom_score_adj":                  "TestKeys_SeenFromInside",
	"cap_add":                        "TestKeys_SeenFromInside",
	"cap_drop":                       "TestKeys_SeenFromInside",
	"privileged":                     "TestKeys_SeenFromInside",
	"readonly_rootfs":                "TestKeys_SeenFromInside",
	"security_opt":                   "TestKeys_SeenFromInside",
	"userns":                         "TestKeys_SeenFromInside",
	"runtime":                        "TestRunsc",
	"userns_mode":                    "TestKeys_SeenFromInside",
	"extra_hosts":                    "TestKeys_SeenFromInside",
	"ports":                          "TestStart_DockerJob",
	"logs":                           "TestLogs_Rotated",
	"logs.max_files":                 "TestLogs_Rotated",
	"logs.max_file_size":             "TestLogs_Rotated",
}

// TestKeys_EachHasTest checks that each key of a task has a test, and that each listed test exists.
func TestKeys_EachHasTest(t *testing.T) {
	var source strings.Builder
	files, err := filepath.Glob("*_test.go")
	must.NoError(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must.NoError(t, err)
		source.Write(b)
	}
	keys := keysOf(reflect.TypeFor[driver.TaskConfig]())
	for _, key := range keys {
		test, named := keyTests[key]
		must.True(t, named, must.Sprintf("key %s has no test", key))
		if test != "" {
			must.StrContains(t, source.String(), "\nfunc "+test+"(")
		}
		t.Logf("%-32s %s", key, test)
	}
	must.Eq(t, len(keys), len(keyTests), must.Sprint("keyTests lists unknown keys"))
}

// keysOf returns the keys of a config and its blocks.
func keysOf(config reflect.Type) (all []string) {
	for i := range config.NumField() {
		key, inner := config.Field(i).Tag.Get("codec"), config.Field(i).Type
		all = append(all, key)
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || key == "mounts" { // an alias
			continue
		}
		for _, name := range keysOf(inner) {
			all = append(all, key+"."+name)
		}
	}
	return all
}

// TestNamespaces_Host checks that a task can use each namespace of the host if the operator
// allows it.
func TestNamespaces_Host(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.AllowHostNamespaces = runtime, true })
		for kind, set := range map[string]func(c *driver.TaskConfig){
			"":    func(*driver.TaskConfig) {},
			"pid": func(c *driver.TaskConfig) { c.PidMode = "host" },
			"ipc": func(c *driver.TaskConfig) { c.IPCMode = "host" },
			"uts": func(c *driver.TaskConfig) { c.UTSMode = "host" },
		} {
			config := sh("cd /proc/self/ns && readlink pid ipc uts; echo end")
			set(&config)
			tk := n.newTask("", "in"+kind, config, nil)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode)
			got := tk.output("stdout", contains("end"))
			for _, ns := range []string{"pid", "ipc", "uts"} {
				hosts, err := os.Readlink("/proc/self/ns/" + ns)
				must.NoError(t, err)
				must.Eq(t, ns == kind, strings.Contains(got, hosts), must.Sprintf("%s_mode: %s", kind, got))
			}
		}
	})
}

// TestPull_Policy checks whether each pull policy notices a moved tag.
func TestPull_Policy(t *testing.T) {
	at := insecureRegistry(t) + "/moving:v1"
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	push := func(version string) {
		img := testimage.New(t, func(c *v1.Config) { c.Env = append(c.Env, "VERSION="+version) })
		must.NoError(t, remote.Write(ref, img, testimage.NoKeepAlive()))
	}
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		task := func(config driver.TaskConfig, change func(*drivers.TaskConfig)) *task {
			config.Image = at
			config.Volumes = []string{"/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"} // the image has no shell
			config.Entrypoint = []string{"/usr/bin/sh", "-c", `echo "version $VERSION."`}
			return n.newTask("", "image", config, change)
		}
		push("one")
		must.ErrorContains(t, n.startError(task(driver.TaskConfig{ImagePullPolicy: "never"}, quiet)), `its pull policy is "never"`)
		must.ErrorContains(t, n.startError(task(driver.TaskConfig{ImagePullTimeout: "1us"}, quiet)), "1µs")
		for _, step := range []struct {
			push   string
			config driver.TaskConfig
			want   string
		}{
			{"one", driver.TaskConfig{}, "one"},
			{"two", driver.TaskConfig{ImagePullPolicy: "missing"}, "one"},
			{"two", driver.TaskConfig{ImagePullPolicy: "never"}, "one"},
			{"two", driver.TaskConfig{ImagePullPolicy: "always"}, "two"},
			{"three", driver.TaskConfig{}, "two"},
			{"three", driver.TaskConfig{ForcePull: true}, "three"},
		} {
			push(step.push)
			tk := task(step.config, nil)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode)
			tk.output("stdout", contains("version "+step.want+"."))
		}
	})
}

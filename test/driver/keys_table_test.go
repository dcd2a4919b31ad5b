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
	"github.com/nomad-sidecar/nomad-sidecar/test/fixture"
)

// keyTests names, for each key of a task, the test in which a real task shows
// what it does. Wrong values are tried in the tests of the package driver.
var keyTests = map[string]string{
	"image":                          "TestATaskRunsFromAnImage",
	"image_pull_policy":              "TestWhenAnImageIsPulled",
	"force_pull":                     "TestWhenAnImageIsPulled",
	"image_pull_timeout":             "TestWhenAnImageIsPulled",
	"auth":                           "TestRegistryCredentials",
	"auth.username":                  "TestRegistryCredentials",
	"auth.password":                  "TestRegistryCredentials",
	"auth.server_address":            "", // it changes nothing, and must be the image's registry
	"auth.email":                     "", // ignored
	"auth.tls_verify":                "", // only its default is accepted
	"platform":                       "TestThePlatformOfAnImage",
	"entrypoint":                     "TestThePlatformOfAnImage",
	"command":                        "TestKeysSeenFromInside",
	"args":                           "TestKeysSeenFromInside",
	"work_dir":                       "TestKeysSeenFromInside",
	"init":                           "TestKeysSeenFromInside",
	"tty":                            "", // only its default is taken
	"group_add":                      "TestKeysSeenFromInside",
	"labels":                         "TestLabelsAreAnnotations",
	"share":                          "TestKeysSeenFromInside",
	"hostname":                       "TestKeysSeenFromInside",
	"pid_mode":                       "TestNamespacesOfTheHost",
	"ipc_mode":                       "TestNamespacesOfTheHost",
	"uts_mode":                       "TestNamespacesOfTheHost",
	"ready":                          "TestAStartWaitsUntilTheTaskIsReady",
	"ready.exec":                     "TestAStartWaitsUntilTheTaskIsReady",
	"ready.http":                     "TestAStartWaitsUntilTheTaskIsReady",
	"ready.tcp":                      "TestAStartWaitsUntilTheTaskIsReady",
	"ready.file":                     "TestAStartWaitsUntilTheTaskIsReady",
	"ready.interval":                 "TestAStartWaitsUntilTheTaskIsReady",
	"ready.timeout":                  "TestATaskThatIsNeverReadyFails",
	"after":                          "TestOrderAtStartAndAtStop",
	"pre_stop":                       "TestPreStopRunsBeforeTheSignal",
	"pre_stop.command":               "TestPreStopRunsBeforeTheSignal",
	"pre_stop.args":                  "TestPreStopRunsBeforeTheSignal",
	"pre_stop.timeout":               "TestPreStopRunsBeforeTheSignal",
	"pod_volume":                     "TestMemoryVolumesAreThePods",
	"pod_volume.target":              "TestMemoryVolumesAreThePods",
	"pod_volume.size":                "TestMemoryVolumesAreThePods",
	"pod_volume.readonly":            "TestMemoryVolumesAreThePods",
	"shm_size":                       "TestSharedMemoryIsAsLargeAsAsked",
	"volumes":                        "TestKeysSeenFromInside",
	"mounts":                         "TestMounts_KeepFlagsOfSource",
	"mount":                          "TestKeysSeenFromInside",
	"mount.type":                     "TestKeysSeenFromInside",
	"mount.source":                   "TestKeysSeenFromInside",
	"mount.target":                   "TestKeysSeenFromInside",
	"mount.readonly":                 "TestKeysSeenFromInside",
	"mount.bind_options":             "TestKeysSeenFromInside",
	"mount.bind_options.propagation": "TestKeysSeenFromInside",
	"mount.tmpfs_options":            "TestKeysSeenFromInside",
	"mount.tmpfs_options.size":       "TestKeysSeenFromInside",
	"mount.tmpfs_options.mode":       "TestKeysSeenFromInside",
	"tmpfs":                          "TestKeysSeenFromInside",
	"devices":                        "TestKeysSeenFromInside",
	"devices.host_path":              "TestKeysSeenFromInside",
	"devices.container_path":         "TestKeysSeenFromInside",
	"devices.cgroup_permissions":     "TestKeysSeenFromInside",
	"pids_limit":                     "TestKeysSeenFromInside",
	"ulimit":                         "TestKeysSeenFromInside",
	"sysctl":                         "TestKeysSeenFromInside",
	"cpu_hard_limit":                 "TestCPUHardLimitIsInForce",
	"cpu_cfs_period":                 "TestKeysSeenFromInside",
	"memory_swap":                    "TestKeysSeenFromInside",
	"oom_score_adj":                  "TestKeysSeenFromInside",
	"cap_add":                        "TestKeysSeenFromInside",
	"cap_drop":                       "TestKeysSeenFromInside",
	"privileged":                     "TestKeysSeenFromInside",
	"readonly_rootfs":                "TestKeysSeenFromInside",
	"security_opt":                   "TestKeysSeenFromInside",
	"userns":                         "TestKeysSeenFromInside",
	"userns_mode":                    "TestKeysSeenFromInside",
	"extra_hosts":                    "TestKeysSeenFromInside",
	"ports":                          "TestAJobOfDockersDriverRuns",
	"logs":                           "TestLogsAreRotated",
	"logs.max_files":                 "TestLogsAreRotated",
	"logs.max_file_size":             "TestLogsAreRotated",
}

// Each key of a task has a test, and each test that is named is there.
func TestEveryKeyHasATest(t *testing.T) {
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
		must.True(t, named, must.Sprintf("no test shows what %s does", key))
		if test != "" {
			must.StrContains(t, source.String(), "\nfunc "+test+"(")
		}
		t.Logf("%-32s %s", key, test)
	}
	must.Eq(t, len(keys), len(keyTests), must.Sprint("there is a test of what is no key"))
}

// keysOf names the keys of a config and of the blocks in it.
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

// Where the operator allows it, a task is in namespaces of the host, one by one.
func TestNamespacesOfTheHost(t *testing.T) {
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
			seen := tk.output("stdout", contains("end"))
			for _, ns := range []string{"pid", "ipc", "uts"} {
				hosts, err := os.Readlink("/proc/self/ns/" + ns)
				must.NoError(t, err)
				must.Eq(t, ns == kind, strings.Contains(seen, hosts), must.Sprintf("%s_mode: %s", kind, seen))
			}
		}
	})
}

// When an image is asked for anew: a tag that has moved is seen, or not.
func TestWhenAnImageIsPulled(t *testing.T) {
	at := insecureRegistry(t) + "/moving:v1"
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	push := func(version string) {
		img := fixture.Image(t, func(c *v1.Config) { c.Env = append(c.Env, "VERSION="+version) })
		must.NoError(t, remote.Write(ref, img, fixture.NoKeepAlive()))
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
		must.ErrorContains(t, n.refuses(task(driver.TaskConfig{ImagePullPolicy: "never"}, quiet)), `its pull policy is "never"`)
		must.ErrorContains(t, n.refuses(task(driver.TaskConfig{ImagePullTimeout: "1us"}, quiet)), "1µs")
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

package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// cdiSpec defines one device with a device node that is not in a task by default, a mount and a
// variable.
const cdiSpec = `{
  "cdiVersion": "0.6.0", "kind": "%[1]s",
  "containerEdits": {"env": ["VENDOR=all"]},
  "devices": [{"name": "%[2]s", "containerEdits": {
    "env": ["ACCEL=%[2]s"],
    "deviceNodes": [{"path": "/dev/accel0", "hostPath": "/dev/fuse", "permissions": "r"}],
    "mounts": [{"hostPath": %[3]q, "containerPath": "/opt/vendor/lib", "options": ["ro", "nosuid", "nodev", "rbind"]},
               {"hostPath": %[4]q, "containerPath": "/opt/vendor.conf", "options": ["ro", "bind"]}]}}]
}`

// cdiDir creates a directory of specs with one device of a kind.
func cdiDir(t *testing.T, kind, name string) string {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs a device outside of the default ones: %v", err)
	}
	lib := t.TempDir()
	must.NoError(t, os.Chmod(lib, 0o755))
	conf := filepath.Join(lib, "vendor.conf")
	must.NoError(t, os.WriteFile(conf, []byte("of the vendor\n"), 0o644))
	dir := filepath.Join(t.TempDir(), "cdi")
	must.NoError(t, os.Mkdir(dir, 0o755))
	writeSpec(t, dir, "vendor.json", fmt.Sprintf(cdiSpec, kind, name, lib, conf))
	return dir
}

func writeSpec(t *testing.T, dir, file, text string) {
	t.Helper()
	must.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
}

// checkDevice checks that the task has the device node, mount and variable of cdiSpec.
func (tk *task) checkDevice(name string) {
	tk.n.t.Helper()
	must.Eq(tk.n.t, "a:e5", strings.TrimSpace(tk.exec("stat -c %t:%T /dev/accel0")))
	tk.exec("head -c0 /dev/accel0")
	tk.exec("! (: > /dev/accel0) 2>/dev/null") // its permissions are "r"
	must.Eq(tk.n.t, "of the vendor", strings.TrimSpace(tk.exec("cat /opt/vendor.conf; cmp /opt/vendor.conf /opt/vendor/lib/vendor.conf")))
	tk.exec("! (: > /opt/vendor.conf) 2>/dev/null")
	must.Eq(tk.n.t, name+" all", strings.TrimSpace(tk.exec("echo $ACCEL $VENDOR")))
}

// TestCDI checks that a task gets the devices that it names and that Nomad reserved, and that no
// other task gets them.
func TestCDI(t *testing.T) {
	dir, reserved := cdiDir(t, "vendor.test/accel", "0"), cdiDir(t, "nvidia.com/gpu", "GPU-1")
	shell := []string{"/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro", "/bin:/bin:ro"}
	image := testimage.Layout(t, filepath.Join(t.TempDir(), "image"), scratch(t))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.CDISpecDirs, c.Volumes.Enabled = runtime, []string{dir, reserved, "/no/such/dir"}, true
			c.AllowDevices = []string{"vendor.test/accel=*"}
		})
		root := func(c *drivers.TaskConfig) { c.User = "0" }
		config := sh("sleep infinity")
		config.CDIDevices = []string{"vendor.test/accel=0"}
		named := n.newTask("", "named", config, root)
		named.start()
		named.checkDevice("0")

		config = driver.TaskConfig{Image: image, Entrypoint: []string{"/usr/bin/sleep", "infinity"}, Volumes: shell, CDIDevices: config.CDIDevices}
		inImage := n.newTask("", "image", config, root)
		inImage.start()
		inImage.checkDevice("0")

		gpu := n.newTask("", "gpu", sh("sleep infinity"), func(c *drivers.TaskConfig) {
			root(c)
			c.DeviceEnv = map[string]string{"NVIDIA_VISIBLE_DEVICES": "GPU-1"}
		})
		gpu.start()
		gpu.checkDevice("GPU-1")

		// The variable alone, set by a job, reserves no device.
		without := n.newTask(named.AllocID, "without", sh("sleep infinity"), func(c *drivers.TaskConfig) {
			root(c)
			c.Env["NVIDIA_VISIBLE_DEVICES"] = "GPU-1"
		})
		without.start()
		without.exec("! ls -d /dev/accel0 /opt/vendor /opt/vendor.conf 2>/dev/null; test -z \"$ACCEL$VENDOR\"")
	})
}

// TestCDI_Refused checks that a device that is not allowed, that no usable spec defines, or that
// could change the host is refused before anything is created.
func TestCDI_Refused(t *testing.T) {
	dir := cdiDir(t, "vendor.test/accel", "0")
	device := `{"cdiVersion": "0.6.0", "kind": "vendor.test/%s", "devices": [{"name": "0", "containerEdits": {%s}}]}`
	for name, edits := range map[string]string{
		"hook":     `"hooks": [{"hookName": "createRuntime", "path": "/bin/true"}]`,
		"node":     `"deviceNodes": [{"path": "/alloc/fuse", "hostPath": "/dev/fuse"}]`,
		"climbing": `"deviceNodes": [{"path": "/dev/../alloc/fuse", "hostPath": "/dev/fuse"}]`,
		"root":     `"mounts": [{"hostPath": "/etc", "containerPath": "/"}]`,
		"relative": `"mounts": [{"hostPath": "etc", "containerPath": "/opt/etc"}]`,
		"gone":     `"deviceNodes": [{"path": "/dev/gone"}]`,
	} {
		writeSpec(t, dir, name+".json", fmt.Sprintf(device, name, edits))
	}
	writeSpec(t, dir, "broken.json", "{")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.CDISpecDirs, c.AllowDevices = runtime, []string{dir}, []string{"vendor.test/*=*"}
		})
		refused := func(want string, change func(*driver.TaskConfig), reserved string) {
			t.Helper()
			config := sh("true")
			change(&config)
			err := n.startError(n.newTask("", "device", config, func(c *drivers.TaskConfig) {
				quiet(c)
				c.DeviceEnv = map[string]string{"NVIDIA_VISIBLE_DEVICES": reserved}
			}))
			must.ErrorContains(t, err, want)
			// The error is recoverable only if the device may appear later.
			must.Eq(t, strings.Contains(want, "/dev/gone") || strings.Contains(want, "no such device"), structs.IsRecoverable(err), must.Sprint(err))
		}
		for device, want := range map[string]string{
			"accel0":                 `cdi_devices: "accel0": want VENDOR/CLASS=NAME`,
			"other.test/accel=0":     `cdi_devices: "other.test/accel=0" is not allowed here: the operator can add it to allow_devices`,
			"vendor.test/accel=7":    "vendor.test/accel=7\": no such device in the specs in " + dir + "; " + dir + "/broken.json is unusable: ",
			"vendor.test/hook=0":     "hook.json has hooks, programs that run as root on the host; the operator can allow them with allow_privileged",
			"vendor.test/node=0":     `node.json has a device node at "/alloc/fuse"; only paths below /dev are supported`,
			"vendor.test/gone=0":     `cdi_devices: failed to inject devices: failed to stat CDI host device "/dev/gone"`,
			"vendor.test/root=0":     `root.json has a mount at "/"; want an absolute path below /`,
			"vendor.test/relative=0": `relative.json mounts "etc"; want an absolute path of the host`,
			"vendor.test/climbing=0": "only paths below /dev are supported",
		} {
			refused(want, func(c *driver.TaskConfig) { c.CDIDevices = []string{device} }, "")
		}
		refused("cdi_devices: a mount contains the device node /dev/accel0: mount elsewhere than at /dev/accel0", func(c *driver.TaskConfig) {
			c.CDIDevices, c.Tmpfs = []string{"vendor.test/accel=0"}, []string{"/dev/accel0"}
		}, "")

		// A spec that a user can write to or replace is not trusted.
		writeSpec(t, dir, "gpu.json", `{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": {"env": ["A=b"]}}]}`)
		refused("GPU that Nomad reserved (NVIDIA_VISIBLE_DEVICES): \"nvidia.com/gpu=GPU-1\": no such device in the specs in", func(*driver.TaskConfig) {}, "GPU-1")
		wanted := func(c *driver.TaskConfig) { c.CDIDevices = []string{"vendor.test/accel=0"} }
		must.NoError(t, os.Chown(filepath.Join(dir, "gpu.json"), 1000, 0))
		refused("users other than root can write to", wanted, "")
		must.NoError(t, os.Chown(filepath.Join(dir, "gpu.json"), 0, 0))
		must.NoError(t, os.Chmod(filepath.Join(dir, "gpu.json"), 0o666))
		refused("users other than root can write to", wanted, "")
		must.NoError(t, os.Remove(filepath.Join(dir, "gpu.json")))
		must.NoError(t, os.Chmod(dir, 0o777))
		refused("users other than root can replace it", wanted, "")
		must.NoError(t, os.Chmod(dir, 0o755))
	})
}

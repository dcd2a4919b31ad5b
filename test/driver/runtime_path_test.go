package driver_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// TestMount_RuntimePath checks that a task cannot mount over /dev or /proc, which would unmask
// paths (CVE-2025-31133) or disable its profile (CVE-2019-19921).
func TestMount_RuntimePath(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for _, target := range []string{"/dev", "/dev/", "/dev/null", "/dev/pts", "/dev/console", "/proc", "/proc/self/attr", "/sys", "/tmp/../proc", "/sys/fs/cgroup"} {
			for name, change := range map[string]func(*driver.TaskConfig){
				"volumes":    func(c *driver.TaskConfig) { c.Volumes = []string{"../alloc/data/dev:" + target} },
				"mount":      func(c *driver.TaskConfig) { c.Mounts = []driver.MountConfig{{Type: "tmpfs", Target: target}} },
				"tmpfs":      func(c *driver.TaskConfig) { c.Tmpfs = []string{target} },
				"pod_volume": func(c *driver.TaskConfig) { c.PodVolumes = map[string]driver.VolumeConfig{"v": {Target: target}} },
			} {
				config := sh("exec sleep 600")
				change(&config)
				tk := n.newTask("", "sneak", config, quiet)
				dev := filepath.Join(tk.TaskDir().SharedAllocDir, "data/dev")
				must.NoError(t, os.MkdirAll(dev, 0o777))
				must.NoError(t, os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(dev, "null")))
				must.ErrorContains(t, n.startError(tk), "is the runtime's; mount elsewhere", must.Sprint(name, target))
			}
		}
		config := sh("exec sleep 600")
		config.Tmpfs = []string{"/dev/shm:size=1m", "/dev/hugepages:size=1m"}
		n.newTask("", "plain", config, quiet).start()
	})
}

// TestMount_RuntimePathByLink checks the same for mounts through symlinks of an image.
func TestMount_RuntimePathByLink(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		link := func(name, to string) tar.Header {
			return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
		}
		for target, header := range map[string]tar.Header{
			"/opt/self/attr": link("opt", "/proc"), "/opt/pts": link("opt", "dev"), "/etc/hosts": link("etc/hosts", "/proc/self/attr/exec"),
		} {
			reference := testimage.Layout(t, t.TempDir(), withLayer(t, scratch(t), header))
			config := driver.TaskConfig{Image: reference, Tmpfs: []string{"/tmp"}}
			if target != "/etc/hosts" {
				config.Tmpfs = []string{target}
			}
			must.ErrorContains(t, n.startError(n.newTask("", "sneak", config, quiet)), "mount at "+target, must.Sprint(target))
		}
	})
}

// TestMount_RuntimePathByLinkInVolume checks the same for mounts through symlinks in a volume,
// which tasks can create.
func TestMount_RuntimePathByLinkInVolume(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for target, to := range map[string]string{"/a/l/attr": "/proc/self", "/a/l/pts": "/dev", "/a/l/fs": "/sys"} {
			config := sh("exec sleep 600")
			config.Volumes = []string{"../alloc/data/outer:/a", "../alloc/data/inner:" + target}
			tk := n.newTask("", "sneak", config, quiet)
			data := filepath.Join(tk.TaskDir().SharedAllocDir, "data")
			must.NoError(t, os.MkdirAll(filepath.Join(data, "outer"), 0o777))
			must.NoError(t, os.MkdirAll(filepath.Join(data, "inner"), 0o777))
			must.NoError(t, os.Symlink(to, filepath.Join(data, "outer/l")))
			must.Error(t, n.startError(tk), must.Sprint(to)) // the error of the runtime or of the driver
		}
		config := sh("exec sleep 600")
		config.Volumes = []string{"../alloc/data/outer:/a", "../alloc/data/inner:/a/sub"}
		n.newTask("", "plain", config, quiet).start()
	})
}

// TestDevice_InMount checks that a job cannot make the runtime create a device in a directory of
// the host, where processes outside of the cgroup could open it, or in place of a runtime file.
func TestDevice_InMount(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		image := testimage.Layout(t, t.TempDir(), withLayer(t, testimage.New(t), tarLink("opt", "/alloc"), tarLink("srv", "../../dev")))
		for target, want := range map[string]string{
			"/alloc/x": "has a mount at /alloc", "/alloc/data/x": "has a mount at /alloc", "/local/../secrets/x": "has a mount at /secrets",
			"/v/a/x": "has a mount at /v", "/v": "has a mount at /v", "/dev/shm/x": "has a mount at /dev/shm", "/etc/hosts": "has a mount at /etc/hosts",
			"/dev/null": "is the runtime's; use another", "/proc/x": "is the runtime's; use another", "/dev": "is the runtime's; use another",
			"/opt/x": "has a mount at /alloc", "/srv/ptmx": "is the runtime's; use another",
		} {
			config := sh("exec sleep 600")
			if strings.HasPrefix(target, "/opt") || strings.HasPrefix(target, "/srv") {
				config = driver.TaskConfig{Image: image}
			}
			config.Volumes = []string{"local/a:/v"}
			config.Devices = []driver.DeviceConfig{{HostPath: "/dev/zero", ContainerPath: target}}
			tk := n.newTask("", "sneak", config, quiet)
			must.ErrorContains(t, n.startError(tk), want, must.Sprint(target))
		}
		config := sh("exec sleep 600")
		config.Volumes = []string{"local/a:/dev/random"}
		config.Devices = []driver.DeviceConfig{{HostPath: "/dev/random"}}
		must.ErrorContains(t, n.startError(n.newTask("", "sneak", config, quiet)), "has a mount at /dev/random")

		config = sh("exec sleep 600")
		config.Devices = []driver.DeviceConfig{{HostPath: "/dev/null"}, {HostPath: "/dev/zero", ContainerPath: "/etc/zero"}, {HostPath: "/dev/zero", ContainerPath: "/dev/shm0"}}
		n.newTask("", "plain", config, quiet).start()
	})
}

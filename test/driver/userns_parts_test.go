package driver_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// Trap D29: an image that is mounted must be mapped layer by layer.
// TestUserns_Users checks users other than root, groups, limits and mounts of a task.
func TestUserns_Users(t *testing.T) {
	n := newUsernsNode(t, func(c *driver.PluginConfig) { c.Volumes.Enabled = true })
	source := testimage.Layout(t, filepath.Join(t.TempDir(), "shell"), shellImage(t, v1.Config{User: "1000:100"}))
	host := t.TempDir()
	sandbox.LetAllEnter(t, filepath.Join(host, "x"))
	must.NoError(t, os.WriteFile(filepath.Join(host, "file"), nil, 0o600))
	must.NoError(t, os.Chown(filepath.Join(host, "file"), 1000, 100))
	config := auto(driver.TaskConfig{Image: source, Args: []string{"/bin/sh", "-c", "echo up > /dev/stdout; sleep infinity"}})
	config.GroupAdd = []string{"4321"}
	config.Ulimit = map[string]string{"nofile": "100:200"}
	config.Volumes = []string{host + ":/host", "local/conf:/conf"}
	config.Tmpfs = []string{"/scratch:uid=1000,mode=700"}
	config.ShmSize = "8m"
	config.Mounts = []driver.MountConfig{imageMount(source, "", "/srv/image"), imageMount(source, "bin/cat", "/srv/cat")}
	config.Ready = &driver.ReadyConfig{Exec: []string{"/bin/cat", "/srv/cat"}, Interval: "50ms", Timeout: "20s"}
	tk := n.newTask("", "app", config, nil)
	tk.start()
	tk.output("stdout", contains("up"))
	must.Eq(t, "1000 100 100 4321\n", tk.exec("echo $(id -u) $(id -g) $(id -G)"))
	must.Eq(t, "100 200\n", tk.exec("echo $(ulimit -Sn) $(ulimit -Hn)"))
	must.Eq(t, "1000:100\n", tk.exec("cat /host/file; stat -c %u:%g /host/file"))
	must.Eq(t, "0:0\n", tk.exec("stat -c %u:%g /srv/image/bin/cat /srv/cat /srv/image /conf | sort -u"))
	tk.exec("touch /scratch/x; ! touch /srv/image/x 2>/dev/null; ! touch /host/new 2>/dev/null; ! touch /conf/x 2>/dev/null")
	other := n.newTask("", "other", auto(sh("sleep infinity")), func(c *drivers.TaskConfig) { c.User = "1000:100" })
	other.start()
	must.Eq(t, usernsMap(1), other.firstID())
}

// TestUserns_Parts checks the parts of a pod that tasks change after the first one, a terminal, the
// log collector, a device, and a task without a network.
func TestUserns_Parts(t *testing.T) {
	n := newUsernsNode(t, func(c *driver.PluginConfig) {
		c.LogCollector, c.AllowDevices = "pod", []string{"/dev/fuse"}
	})
	config := auto(sh("echo up > /dev/stdout; sleep infinity"))
	config.ShmSize = "8m"
	app := n.newTask("", "app", config, func(c *drivers.TaskConfig) { asHostRoot(c); withoutCollector(c) })
	app.start()
	app.output("stdout", contains("up"))
	config.ShmSize = "16m"
	config.Sysctl = map[string]string{"kernel.shmmni": "5000"}
	config.Devices = []driver.DeviceConfig{{HostPath: "/dev/fuse"}}
	config.Init, config.ReadonlyRootfs = true, true
	none := n.newTask(app.AllocID, "none", config, func(c *drivers.TaskConfig) {
		withoutCollector(c)
		c.User = "daemon"
		c.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
	})
	none.start()
	none.output("stdout", contains("up"))
	must.Eq(t, "16384 0\n", app.exec("echo $(df -k --output=size /dev/shm | tail -n1) $(stat -c %u /dev/shm)"))
	must.Eq(t, "5000\n", app.exec("cat /proc/sys/kernel/shmmni"))
	must.Eq(t, "a:e5\n", none.exec("stat -c %t:%T /dev/fuse"))
	must.Eq(t, "lo\n0 65535\n", none.exec("ls /sys/class/net; echo $(cat /proc/sys/net/ipv4/ping_group_range)"))
	none.exec("! touch /x 2>/dev/null && touch /local/x")

	for _, tk := range []*task{app, none} {
		ctx, cancel := context.WithTimeout(t.Context(), maxWait)
		c := newClient(ctx)
		close(c.send)
		err := tk.stream(c, true, "/bin/sh", "-c", "tty; test -w $(tty) && id -un")
		cancel()
		must.NoError(t, err)
		must.StrContains(t, c.stdout.String(), "/dev/pts/")
		must.StrContains(t, c.stdout.String(), map[*task]string{app: "root", none: "daemon"}[tk])
	}
}

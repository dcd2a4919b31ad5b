package driver_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// TestMounts_KeepFlagsOfSource checks that a source mounted ro,noexec on the host is neither
// writable nor executable in a task, whichever way it gets there.
func TestMounts_KeepFlagsOfSource(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		mount := func(flags uintptr) string {
			dir := t.TempDir()
			must.NoError(t, os.Chmod(dir, 0o777))
			must.NoError(t, os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\necho ran\n"), 0o755))
			must.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
			t.Cleanup(func() { must.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
			must.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""))
			return dir
		}
		strict, plain := mount(unix.MS_RDONLY|unix.MS_NOEXEC), mount(0)
		config := sh("sleep 1000")
		config.Volumes = []string{strict + ":/volumes-strict", plain + ":/volumes-plain"}
		config.Mounts = []driver.MountConfig{
			{Type: "bind", Source: strict, Target: "/mount-strict"}, {Type: "bind", Source: plain, Target: "/mount-plain"},
		}
		config.MountsAlias = []driver.MountConfig{{Type: "bind", Source: strict, Target: "/ro-strict", Readonly: true}}
		tk := n.newTask("", "app", config, func(c *drivers.TaskConfig) {
			quiet(c)
			c.Mounts = []*drivers.MountConfig{
				{HostPath: strict, TaskPath: "/host-strict"}, {HostPath: plain, TaskPath: "/host-plain"},
			}
		})
		tk.start()
		for _, target := range []string{"/volumes", "/mount", "/host", "/ro"} {
			must.Eq(t, "refused\nrefused\n", tk.exec("touch "+target+"-strict/x 2>/dev/null || echo refused; "+target+"-strict/run 2>/dev/null || echo refused"), must.Sprint(target))
		}
		for _, target := range []string{"/volumes", "/mount", "/host"} {
			must.Eq(t, "ran\n", tk.exec("touch "+target+"-plain/x && "+target+"-plain/run"), must.Sprint(target))
		}
	})
}

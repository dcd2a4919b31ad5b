package driver_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// TestNetworkDefaults checks Docker's defaults in the network namespace of a group, and that a
// task's own setting survives the start of a sibling.
func TestNetworkDefaults(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		path := networkNamespace(t)
		catCgroup := func(c *drivers.TaskConfig) {
			quiet(c)
			c.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: path}
		}
		const read = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
		first := n.newTask("", "first", sh("sleep 1000"), catCgroup)
		first.start()
		must.Eq(t, []string{"0", "0", "2147483647"}, strings.Fields(first.exec(read)))

		config := sh("sleep 1000")
		config.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "1024"}
		second := n.newTask(first.AllocID, "second", config, catCgroup)
		second.start()
		third := n.newTask(first.AllocID, "third", sh("sleep 1000"), catCgroup)
		third.start()
		must.Eq(t, "1024", strings.Fields(third.exec(read))[0])

		host := n.newTask("", "host", sh("sleep 1000"), quiet)
		host.start()
		want, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		must.NoError(t, err)
		must.Eq(t, strings.TrimSpace(string(want)), strings.Fields(host.exec(read))[0])
	})
}

// TestAmbientCapabilities checks that cap_add has an effect for a user other than root, also in
// commands, and that nothing else is granted.
func TestAmbientCapabilities(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		const read = "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | sed 's/.*\\t//' | sort -u"
		config := sh("sleep 1000")
		config.CapAdd = []string{"net_bind_service"}
		with := n.newTask("", "with", config, quiet)
		with.start()
		must.Eq(t, "0000000000000400\n", with.exec(read))
		without := n.newTask("", "without", sh("sleep 1000"), quiet)
		without.start()
		must.Eq(t, "0000000000000000\n", without.exec(read))
	})
}

// TestDeniedHostUsers checks the operator's lists for users by name, number, and group.
func TestDeniedHostUsers(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.DeniedHostUIDs, c.DeniedHostGIDs = runtime, "0,2-5", "42"
		})
		for user, want := range map[string]string{
			"root": "uid 0 is not allowed", "0": "denied_host_uids is \"0,2-5\"", "0:0": "uid 0", "3": "uid 3", "7:42": "denied_host_gids is \"42\"",
		} {
			tk := n.newTask("", "app", sh("exit 0"), func(c *drivers.TaskConfig) { quiet(c); c.User = user })
			_, _, err := n.StartTask(tk.TaskConfig)
			must.ErrorContains(t, err, want)
			must.False(t, structs.IsRecoverable(err))
		}
		config := sh("exit 0")
		config.GroupAdd = []string{"42"}
		tk := n.newTask("", "app", config, quiet)
		_, _, err := n.StartTask(tk.TaskConfig)
		must.ErrorContains(t, err, "gid 42")

		allowed := n.newTask("", "app", sh("exit 0"), func(c *drivers.TaskConfig) { quiet(c); c.User = "6:7" })
		allowed.start()
		must.Eq(t, 0, allowed.wait().ExitCode)
	})
}

// TestImageConfig checks an image's config with missing or unusual fields: both runtimes treat it
// the same.
func TestImageConfig(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		image := testimage.Layout(t, filepath.Join(t.TempDir(), "odd"), testimage.New(t, func(c *v1.Config) {
			c.User, c.WorkingDir, c.Env, c.StopSignal = "1234", "srv", []string{"NOVALUE", "=x", "A=1", "HOME="}, "SIGBOGUS"
			c.Entrypoint, c.Cmd = []string{"/none"}, []string{"--ignored"}
		}))
		events := n.watchEvents()
		tk := n.newTask("", "app", driver.TaskConfig{Image: image, Entrypoint: []string{""}, Command: "/init", Args: []string{"-P"}}, quiet)
		tk.start()
		status, err := n.InspectTask(tk.ID)
		must.NoError(t, err)
		proc := "/proc/" + status.DriverAttributes["pid"]
		var env []string
		n.waitFor("the runtime to execute the program", func() bool {
			environ, err := os.ReadFile(proc + "/environ")
			env = strings.Split(string(environ), "\x00")
			return err == nil && slices.Contains(env, "A=1")
		})
		must.SliceContainsSubset(t, env, []string{"HOME=/", "HOSTNAME=" + shortID(tk.AllocID)})
		must.SliceNotContains(t, env, "NOVALUE")
		must.SliceNotContains(t, env, "=x")
		cwd, err := os.Readlink(proc + "/cwd")
		must.NoError(t, err)
		must.Eq(t, "/srv", cwd)
		n.waitFor("an event about the STOPSIGNAL", func() bool {
			return strings.Contains(events(), `STOPSIGNAL "SIGBOGUS" of the image is not a signal`)
		})
	})
}

// TestUser_NotInImage checks that the error for an unknown user names the image.
func TestUser_NotInImage(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		image := testimage.Layout(t, filepath.Join(t.TempDir(), "user"), testimage.New(t, func(c *v1.Config) { c.User = "ghost" }))
		tk := n.newTask("", "app", driver.TaskConfig{Image: image}, quiet)
		_, _, err := n.StartTask(tk.TaskConfig)
		must.ErrorContains(t, err, `user "ghost"`)
		must.ErrorContains(t, err, "of image "+image)
		must.False(t, structs.IsRecoverable(err))
	})
}

// TestStart_CommandNotInImage checks that the error names the image and reports no failed cleanup.
func TestStart_CommandNotInImage(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		image := testimage.Layout(t, filepath.Join(t.TempDir(), "command"), testimage.New(t))
		for entrypoint, want := range map[string]string{
			"/nope": `command "/nope" not found in the task's file system; check command and entrypoint (image ` + image + `)`,
			"nope":  `not found in PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin); check command and entrypoint (image ` + image + `)`,
			"/":     `command "/" is a directory; name a program (image ` + image + `)`,
		} {
			tk := n.newTask("", "app", driver.TaskConfig{Image: image, Entrypoint: []string{entrypoint}}, quiet)
			_, _, err := n.StartTask(tk.TaskConfig)
			must.StrHasSuffix(t, want, err.Error())
			must.False(t, structs.IsRecoverable(err))
		}
	})
}

// TestTmpfs_Modes checks that both runtimes apply the mode of a tmpfs, also over a directory.
func TestTmpfs_Modes(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Image.Paths = runtime, []string{"/"} })
		image := testimage.Layout(t, filepath.Join(t.TempDir(), "tmpfs"), testimage.New(t))
		for name, config := range map[string]driver.TaskConfig{
			"host": sh("sleep 1000"), "image": {Image: image, Args: []string{"-P"}},
		} {
			t.Run(name, func(t *testing.T) {
				config.Tmpfs = []string{"/tmp", "/etc/own:mode=0700,uid=1234", "/new/deep:mode=711"}
				tk := n.newTask("", "app", config, quiet)
				tk.start()
				status, err := n.InspectTask(tk.ID)
				must.NoError(t, err)
				for dir, want := range map[string]os.FileMode{"tmp": 0o777 | os.ModeSticky, "etc/own": 0o700, "new/deep": 0o711} {
					info, err := os.Stat(filepath.Join("/proc", status.DriverAttributes["pid"], "root", dir))
					must.NoError(t, err)
					must.Eq(t, want|os.ModeDir, info.Mode(), must.Sprint(dir))
				}
			})
		}
	})
}

// TestHostnameAndMtab checks the files that Docker adds to every root file system.
func TestHostnameAndMtab(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Image.Paths = runtime, []string{"/"} })
		image := testimage.Layout(t, filepath.Join(t.TempDir(), "plain"), testimage.New(t))
		first := sh("sleep 1000")
		first.Hostname = "first"
		host := n.newTask("", "host", first, quiet)
		host.start()
		must.Eq(t, "first\n/proc/mounts\n", host.exec("cat /etc/hostname; readlink /etc/mtab"))

		withImage := n.newTask(host.AllocID, "image", driver.TaskConfig{Image: image, Args: []string{"-P"}}, quiet)
		withImage.start()
		status, err := n.InspectTask(withImage.ID)
		must.NoError(t, err)
		root := filepath.Join("/proc", status.DriverAttributes["pid"], "root")
		name, err := os.ReadFile(filepath.Join(root, "etc/hostname"))
		must.NoError(t, err)
		must.Eq(t, "first\n", string(name), must.Sprint("host name of the pod"))
	})
}

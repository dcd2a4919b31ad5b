package driver_test

import (
	"archive/tar"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// modelImage returns an image of a program, a model and symlinks. Its files contain "overwritten".
func modelImage(t *testing.T) v1.Image {
	t.Helper()
	file := func(name string, mode int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	return withLayer(t, scratch(t),
		tar.Header{Name: "model/", Typeflag: tar.TypeDir, Mode: 0o755}, file("model/weights", 0o644),
		file("setuid", 0o4755), tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o666},
		tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		link("current", "model"), link("absolute", "/model"), link("host", "/etc/shadow"),
		link("climbs", "../../../../../../../../etc"), link("magic", "/proc/self/root/etc"), link("loop", "loop"),
	)
}

func imageMount(source, subpath, target string) driver.MountConfig {
	return driver.MountConfig{Type: "image", Source: source, Target: target, ImageOptions: driver.ImageOptions{Subpath: subpath}}
}

// TestImageMount checks that an image's files are mounted read-only at a target, while another task
// of the pod runs from the same image.
func TestImageMount(t *testing.T) {
	source := testimage.Layout(t, filepath.Join(t.TempDir(), "model"), modelImage(t))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		program := n.newTask("", "program", driver.TaskConfig{Image: source, Entrypoint: []string{"/init", "-P"},
			Mounts: []driver.MountConfig{imageMount(source, "model", "/data")}}, nil)
		programHandle := program.start()
		config := sh("sleep infinity")
		config.Mounts = []driver.MountConfig{
			imageMount(source, "", "/srv/image"), imageMount(source, "current", "/srv/linked"),
			imageMount(source, "absolute/weights", "/etc/weights"), imageMount(source, "./model/../model/weights", "/srv/weights"),
			{Type: "tmpfs", Target: "/srv/image/model"},
		}
		user := n.newTask(program.AllocID, "user", config, nil)
		handle := user.start()

		inside := func() {
			t.Helper()
			must.Eq(t, "overwritten", user.exec("cat /srv/linked/weights"))
			must.Eq(t, "overwritten", user.exec("cat /etc/weights"))
			must.Eq(t, "overwritten", user.exec("cat /srv/weights"))
			must.StrContains(t, user.exec("/srv/image/init --version"), "tini version")
		}
		inside()
		must.Eq(t, "", user.exec("ls /srv/image/model")) // the image's path is an empty tmpfs
		for _, attempt := range []string{
			"echo x > /srv/linked/weights", "rm /srv/image/init", "touch /srv/image/new", "echo x > /etc/weights",
			"chmod 777 /srv/linked", "mount -o remount,rw,bind /srv/linked", "cat < /srv/image/null",
		} {
			user.exec("! { " + attempt + "; } 2>/dev/null")
		}
		must.StrContains(t, user.exec("grep ' /srv/linked ' /proc/self/mountinfo"), "nosuid,nodev")

		n.abandon()
		n.start()
		must.NoError(t, n.RecoverTask(programHandle))
		must.NoError(t, n.RecoverTask(handle))
		inside()
		must.NoError(t, n.DestroyTask(program.ID, true))
		inside()
		must.NoError(t, n.DestroyTask(user.ID, true))
		must.SliceLen(t, 2, n.layers(t), must.Sprint("layers of the image"))
	})
}

// layers lists the layers in a node's image store.
func (n *node) layers(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(n.config.DataDir, "images", "overlay", "*", "diff"))
	must.NoError(t, err)
	return found
}

// TestImageMount_Subpath checks that a subpath cannot lead out of its image, and that a start that
// fails because of it leaves nothing behind.
func TestImageMount_Subpath(t *testing.T) {
	source := testimage.Layout(t, filepath.Join(t.TempDir(), "model"), modelImage(t))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for subpath, want := range map[string]string{
			"missing": `subpath "missing" does not exist in the image`,
			"host":    `subpath "host" does not exist in the image`,
			"climbs":  `subpath "climbs" does not exist in the image`, "magic": `subpath "magic" does not exist in the image`,
			"model/weights/x": `does not exist in the image`, "loop": "too many symbolic links",
			"fifo": "neither a directory nor a regular file", "null": "neither a directory nor a regular file",
			"../etc": "want a path below the image's root", "/model": "want a path below the image's root",
		} {
			config := sh("true")
			config.Mounts = []driver.MountConfig{imageMount(source, subpath, "/data")}
			err := n.startError(n.newTask("", "model", config, quiet))
			must.ErrorContains(t, err, want)
			must.ErrorContains(t, err, "/data")
			must.False(t, structs.IsRecoverable(err), must.Sprint(err))
		}
		must.SliceLen(t, 2, n.layers(t), must.Sprint("layers of the image"))
	})
}

// TestImageMount_PullPolicy checks that each image of a task has its own pull policy.
func TestImageMount_PullPolicy(t *testing.T) {
	host := insecureRegistry(t)
	root, mounted := pushed(t, host+"/root:v1"), pushed(t, host+"/mounted:v1")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		config := driver.TaskConfig{Image: root, ForcePull: true, Mounts: []driver.MountConfig{imageMount(mounted, "", "/image")}}
		config.Mounts[0].ImagePullPolicy = "never"
		err := n.startError(n.newTask("", "never", config, quiet))
		must.ErrorContains(t, err, "mount at /image")
		must.ErrorContains(t, err, mounted)
		config.Mounts[0].ImagePullPolicy = ""
		tk := n.newTask("", "missing", config, nil)
		tk.start()
		must.Eq(t, 0, tk.wait().ExitCode)
	})
}

package driver_test

import (
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// pushedLarge stores an image with a layer of random bytes under a name.
func pushedLarge(t *testing.T, at string, bytes int64) {
	t.Helper()
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, withRandomLayer(t, scratch(t), bytes), testimage.NoKeepAlive()))
}

// TestImages_DiskFull fills the file system of the images above gc_high and checks that the driver
// brings it below gc_low: the images that were used the longest ago are removed, those in use and
// kept are not. The last uses are those of an earlier driver process.
func TestImages_DiskFull(t *testing.T) {
	host := insecureRegistry(t)
	names := []string{"sidecars/kept", "root", "mounted", "app0", "app1", "app2"}
	for _, name := range names {
		pushedLarge(t, host+"/"+name+":1", 10<<20)
	}
	withOneRuntime(t, func(t *testing.T, runtime string) {
		disk := t.TempDir()
		must.NoError(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=100m,mode=755"))
		t.Cleanup(func() { must.NoError(t, unix.Unmount(disk, 0)) })
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.DataDir = runtime, filepath.Join(disk, "data")
			c.Image.GCHigh, c.Image.GCLow, c.Image.Keep = "85%", "70%", []string{host + "/sidecars/*"}
		})
		mounts := sh("sleep infinity")
		mounts.Mounts = []driver.MountConfig{imageMount(host+"/mounted:1", "", "/image")}
		used := map[string]string{} // file of the last use, by image
		var running []*drivers.TaskHandle
		for _, name := range names {
			config := driver.TaskConfig{Image: host + "/" + name + ":1", Entrypoint: []string{"/init", "--version"}}
			switch name {
			case "root":
				config.Entrypoint = []string{"/init", "-P"}
			case "mounted":
				config = mounts
			}
			tk := n.newTask("", filepath.Base(name), config, nil)
			handle := tk.start()
			if name == "root" || name == "mounted" {
				running = append(running, handle)
			} else {
				tk.wait()
				must.NoError(t, n.DestroyTask(tk.ID, false))
			}
			used[name] = newFile(t, filepath.Join(n.config.DataDir, "images", "used", "*"), used)
		}
		for i, name := range []string{"sidecars/kept", "root", "mounted", "app1", "app2", "app0"} {
			at := time.Now().Add(time.Duration(i-len(names)) * time.Hour)
			must.NoError(t, os.Chtimes(used[name], at, at), must.Sprint(name))
		}
		left := func() (all []string) {
			for _, name := range names {
				if _, err := os.Stat(used[name]); err == nil {
					all = append(all, name)
				}
			}
			return all
		}
		must.Eq(t, names, left())
		n.abandon()
		must.NoError(t, os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 27<<20), 0o600))
		must.Greater(t, 85, percentOf(t, disk))
		n.start()
		for _, handle := range running {
			must.NoError(t, n.RecoverTask(handle))
		}
		n.waitFor("the disk to be below gc_low", func() bool { return percentOf(t, disk) <= 70 })
		must.Eq(t, []string{"sidecars/kept", "root", "mounted", "app0"}, left(), must.Sprintf("%d %% are used", percentOf(t, disk)))
	})
}

// newFile returns the file that matches a pattern and is not yet known.
func newFile(t *testing.T, pattern string, known map[string]string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	must.NoError(t, err)
	for _, file := range found {
		if !slices.Contains(slices.Collect(maps.Values(known)), file) {
			return file
		}
	}
	t.Fatal("no new file matches ", pattern)
	return ""
}

// percentOf returns how full the file system of a directory is.
func percentOf(t *testing.T, dir string) int {
	t.Helper()
	var fs unix.Statfs_t
	must.NoError(t, unix.Statfs(dir, &fs))
	return int(100 * (fs.Blocks - fs.Bfree) / (fs.Blocks - fs.Bfree + fs.Bavail))
}

// bakedStore returns the path of a store with an image, as of a machine image.
func bakedStore(t *testing.T, runtime, at string) string {
	t.Helper()
	n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
	tk := n.newTask("", "bake", driver.TaskConfig{Image: at, Entrypoint: []string{"/init", "--version"}}, nil)
	tk.start()
	tk.wait()
	must.NoError(t, n.DestroyTask(tk.ID, false))
	dir := t.TempDir()
	must.NoError(t, unix.Mount(filepath.Join(n.config.DataDir, "images"), dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	must.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return dir
}

// TestImages_AdditionalStore starts a task from an image of a read-only store, and mounts the image into
// another, while no registry runs.
func TestImages_AdditionalStore(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		host := strings.TrimPrefix(server.URL, "http://")
		trustWithoutTLS(t, host)
		at := pushed(t, host+"/scratch:v1")
		dir := bakedStore(t, runtime, at)
		server.Close()

		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.Image.AdditionalStores = runtime, []string{dir}
			c.Image.GC, c.Image.GCDelay = true, "1s"
		})
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		for range 2 { // the second time after a collection
			root := n.newTask("", "root", driver.TaskConfig{Image: at, Entrypoint: []string{"/init", "-P"}}, nil)
			root.start()
			config := sh("sleep infinity")
			config.Mounts = []driver.MountConfig{imageMount(at, "", "/image")}
			mounted := n.newTask(root.AllocID, "mounted", config, nil)
			mounted.start()
			must.StrContains(t, mounted.exec("/image/init --version"), "tini version")
			mounted.exec("! touch /image/new 2>/dev/null")
			must.NoError(t, n.DestroyTask(root.ID, true))
			must.NoError(t, n.DestroyTask(mounted.ID, true))
			settled := time.Now().Add(1500 * time.Millisecond)
			n.waitFor("a collection", func() bool { return time.Now().After(settled) })
		}
	})
}

// TestFingerprint_AdditionalStore checks that the driver is unhealthy, with the reason, while a store
// cannot be used.
func TestFingerprint_AdditionalStore(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		dir := filepath.Join(t.TempDir(), "store")
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime, c.Image.AdditionalStores = runtime, []string{dir}
		})
		reason := func() string {
			fp := n.fingerprint()
			must.Eq(t, drivers.HealthStateUnhealthy, fp.Health)
			return fp.HealthDescription
		}
		must.StrContains(t, reason(), "image.additional_stores: ")
		must.StrContains(t, reason(), dir+": no such file or directory")
		must.NoError(t, os.Mkdir(dir, 0o755))
		must.StrContains(t, reason(), "it has no directory overlay")
		must.NoError(t, os.Chown(filepath.Dir(dir), 65534, 65534))
		must.StrContains(t, reason(), "user 65534, who owns "+filepath.Dir(dir)+", can replace it")
		must.NoError(t, os.Chown(filepath.Dir(dir), 0, 0))
	})
}

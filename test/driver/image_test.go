package driver_test

import (
	"archive/tar"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// scratch returns an image of one program that runs as user 1234.
func scratch(t *testing.T) v1.Image {
	t.Helper()
	return testimage.New(t)
}

// TestStart_Image checks each kind of image reference.
func TestStart_Image(t *testing.T) {
	img, dir, host := scratch(t), t.TempDir(), insecureRegistry(t)
	oci := testimage.Layout(t, filepath.Join(dir, "oci"), img)
	tag, err := name.NewTag("example.test/scratch:v1")
	must.NoError(t, err)
	must.NoError(t, tarball.WriteToFile(filepath.Join(dir, "docker.tar"), tag, img))
	tarOf(t, filepath.Join(dir, "oci"), filepath.Join(dir, "oci.tar"))
	at := pushed(t, host+"/scratch:v1")

	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for kind, image := range map[string]string{
			"oci": oci, "oci-archive": "oci-archive:" + dir + "/oci.tar:v1",
			"docker-archive": "docker-archive:" + dir + "/docker.tar", "registry": at, "docker": "docker://" + at,
		} {
			tk := n.newTask("", kind, driver.TaskConfig{Image: image}, nil)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode, must.Sprint(kind))
			tk.output("stdout", contains("tini version"))
		}
	})
}

func TestStart_ImageMissing(t *testing.T) {
	at := insecureRegistry(t)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for image, want := range map[string][]string{
			"oci:/no/such/layout":   {"/no/such/layout"},
			at + "/none:v1":         {at, "none:v1"},
			"docker-archive:/no/it": {"/no/it"},
		} {
			tk := n.newTask("", "missing", driver.TaskConfig{Image: image}, nil)
			_, _, err := n.StartTask(tk.TaskConfig)
			for _, part := range want {
				must.ErrorContains(t, err, part)
			}
		}
	})
}

func tarOf(t *testing.T, dir, file string) {
	t.Helper()
	f, err := os.Create(file)
	must.NoError(t, err)
	w := tar.NewWriter(f)
	must.NoError(t, w.AddFS(os.DirFS(dir)))
	must.NoError(t, w.Close())
	must.NoError(t, f.Close())
}

// insecureRegistry starts a registry on loopback that the operator's registries.conf allows without
// TLS, and returns its address.
func insecureRegistry(t *testing.T) string {
	t.Helper()
	host := plainRegistry(t)
	trustWithoutTLS(t, host)
	return host
}

// plainRegistry starts a registry on loopback, without TLS.
func plainRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// pushed stores an image under a name and returns the name.
func pushed(t *testing.T, at string) string {
	t.Helper()
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, scratch(t), testimage.NoKeepAlive()))
	return at
}

// TestImages_UnusedCollected checks that an image is removed some time after its last task and not
// earlier, even if the driver was restarted in between. The image is a root or a mount.
func TestImages_UnusedCollected(t *testing.T) {
	at := pushed(t, insecureRegistry(t)+"/scratch:v1")
	mounted := sh("sleep infinity")
	mounted.Mounts = []driver.MountConfig{imageMount(at, "", "/image")}
	withOneRuntime(t, func(t *testing.T, runtime string) {
		for use, config := range map[string]driver.TaskConfig{
			"root": {Image: at, Entrypoint: []string{"/init", "-P"}}, "mount": mounted,
		} {
			t.Run(use, func(t *testing.T) { imageIsCollected(t, runtime, at, config) })
		}
	})
}

func imageIsCollected(t *testing.T, runtime, at string, config driver.TaskConfig) {
	t.Helper()
	n := newNode(t, func(c *driver.PluginConfig) {
		c.Runtime = runtime
		c.Image.GC, c.Image.GCDelay = true, "1s"
	})
	images := func() int {
		found, err := filepath.Glob(filepath.Join(n.config.DataDir, "images", "used", "*"))
		must.NoError(t, err)
		return len(found)
	}
	user := n.newTask("", "user", config, nil)
	handle, _, err := n.StartTask(user.TaskConfig)
	must.NoError(t, err)
	other := n.newTask("", "other", driver.TaskConfig{Image: at}, nil)
	other.start()
	other.wait()
	must.NoError(t, n.DestroyTask(other.ID, false))
	n.abandon()
	n.start()
	must.NoError(t, n.RecoverTask(handle))
	deadline := time.Now().Add(3 * time.Second) // enough for several collections
	for time.Now().Before(deadline) {
		must.Eq(t, 1, images(), must.Sprint("image of a running task"))
		time.Sleep(50 * time.Millisecond) // poll interval
	}
	must.NoError(t, n.DestroyTask(user.ID, true))
	n.waitFor("the image to be removed", func() bool { return images() == 0 })
}

// TestPull_Events checks that task events report the progress of a pull.
func TestPull_Events(t *testing.T) {
	at := pushed(t, insecureRegistry(t)+"/scratch:v1")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		ctx, cancel := context.WithTimeout(t.Context(), maxWait)
		defer cancel()
		events, err := n.impl.TaskEvents(ctx)
		must.NoError(t, err)
		messages := make(chan string, 2)
		go func() { // ends with ctx
			for {
				select {
				case e := <-events:
					messages <- e.TaskName + ": " + e.Message
				case <-ctx.Done():
					return
				}
			}
		}()
		n.newTask("", "pulls", driver.TaskConfig{Image: at}, nil).start()
		for _, want := range []string{"in 1 layers", "1 of 1 layers"} {
			select {
			case e := <-messages:
				must.StrContains(t, e, "pulls: Pulling image "+at)
				must.StrContains(t, e, want)
			case <-ctx.Done():
				t.Fatal("no event")
			}
		}
	})
}

// TestPull_Platform checks that a task runs the image for its platform, and is refused if there is
// none or the platform is invalid.
func TestPull_Platform(t *testing.T) {
	madeFor := func(arch string) mutate.IndexAddendum {
		img := testimage.New(t, func(c *v1.Config) { c.Env = append(c.Env, "MADE_FOR="+arch) })
		config, err := img.ConfigFile()
		must.NoError(t, err)
		config.Architecture = arch
		img, err = mutate.ConfigFile(img, config)
		must.NoError(t, err)
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	at := insecureRegistry(t) + "/both:v1"
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(empty.Index, madeFor("arm64"), madeFor("amd64")), testimage.NoKeepAlive()))
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		task := func(platform string) *task {
			return n.newTask("", "image", driver.TaskConfig{
				Image: at, Platform: platform,
				Volumes:    []string{"/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"}, // the image has no shell
				Entrypoint: []string{"/usr/bin/sh", "-c", `echo "made for $MADE_FOR."`},
			}, nil)
		}
		for platform, want := range map[string]string{"": "amd64", "linux/amd64": "amd64", "linux/arm64": "arm64"} {
			tk := task(platform)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode)
			tk.output("stdout", contains("made for "+want+"."))
		}
		for platform, want := range map[string][]string{
			"linux/s390x": {at, "built for linux/arm64, linux/amd64"},
			"arm64":       {`platform "arm64"`, "use os/arch"},
		} {
			err := n.startError(task(platform))
			for _, text := range want {
				must.ErrorContains(t, err, text)
			}
		}
	})
}

// TestStop_SignalOfImage checks that the image's STOPSIGNAL is sent unless the job sets
// kill_signal.
func TestStop_SignalOfImage(t *testing.T) {
	img := testimage.New(t, func(c *v1.Config) { c.StopSignal = "SIGUSR1" })
	reference := testimage.Layout(t, t.TempDir(), img)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		for signal, code := range map[string]int{"": 9, "SIGUSR2": 8} {
			tk := n.newTask("", "image", driver.TaskConfig{
				Image:      reference,
				Volumes:    []string{"/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"}, // the image has no shell
				Entrypoint: []string{"/usr/bin/sh", "-c", "trap 'exit 9' USR1; trap 'exit 8' USR2; echo up; while :; do sleep 0.05; done"},
			}, nil)
			tk.start()
			tk.output("stdout", contains("up"))
			must.NoError(t, n.StopTask(tk.ID, maxWait, signal))
			must.Eq(t, code, tk.wait().ExitCode, must.Sprint(signal))
		}
	})
}

package driver_test

import (
	"archive/tar"
	"bytes"
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
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// catatonit is a static program that every machine of the tests has: as the
// only file of an image it can run "--version".
const catatonit = "/usr/bin/catatonit"

// scratch makes an image of that one program, which runs as user 1234.
func scratch(t *testing.T) v1.Image {
	t.Helper()
	program, err := os.ReadFile(catatonit)
	if err != nil {
		t.Skipf("%s is needed as the content of an image: %v", catatonit, err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	must.NoError(t, w.WriteHeader(&tar.Header{Name: "init", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must.NoError(t, err)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/init"}, Cmd: []string{"--version"}, User: "1234", Env: []string{"FROM=image"}},
	})
	must.NoError(t, err)
	img, err = mutate.AppendLayers(img, l)
	must.NoError(t, err)
	return img
}

// Each kind of image reference runs the program of the image.
func TestATaskRunsFromAnImage(t *testing.T) {
	img, dir, host := scratch(t), t.TempDir(), insecureRegistry(t)
	path, err := layout.Write(filepath.Join(dir, "oci"), empty.Index)
	must.NoError(t, err)
	must.NoError(t, path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})))
	tag, err := name.NewTag("example.test/scratch:v1")
	must.NoError(t, err)
	must.NoError(t, tarball.WriteToFile(filepath.Join(dir, "docker.tar"), tag, img))
	tarOf(t, filepath.Join(dir, "oci"), filepath.Join(dir, "oci.tar"))
	at := host + "/scratch:v1"
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, img))

	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for kind, image := range map[string]string{
			"oci": "oci:" + dir + "/oci:v1", "oci-archive": "oci-archive:" + dir + "/oci.tar:v1",
			"docker-archive": "docker-archive:" + dir + "/docker.tar", "registry": at, "docker": "docker://" + at,
		} {
			tk := n.newTask("", kind, driver.TaskConfig{Image: image}, nil)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode, must.Sprint(kind))
			tk.output("stdout", contains("tini version"))
		}
	})
}

func TestMissingImages(t *testing.T) {
	at := insecureRegistry(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
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

// insecureRegistry starts a registry on loopback that can be reached without
// TLS, by the operator's registries.conf, and returns its address.
func insecureRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	trustWithoutTLS(t, host)
	return host
}

// An image goes some time after its last user, not before, and also where the
// driver was away in between.
func TestUnusedImagesAreCollected(t *testing.T) {
	host := insecureRegistry(t)
	ref, err := name.NewTag(host+"/scratch:v1", name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, scratch(t)))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			c.Runtime = runtime
			c.Image.GC, c.Image.GCDelay = true, "1s"
		})
		images := func() int {
			found, err := filepath.Glob(filepath.Join(n.config.DataDir, "images", "used", "*"))
			must.NoError(t, err)
			return len(found)
		}
		user := n.newTask("", "user", driver.TaskConfig{Image: host + "/scratch:v1", Entrypoint: []string{"/init", "-P"}}, nil)
		handle, _, err := n.StartTask(user.TaskConfig)
		must.NoError(t, err)
		other := n.newTask("", "other", driver.TaskConfig{Image: host + "/scratch:v1"}, nil)
		other.start()
		other.wait()
		must.NoError(t, n.DestroyTask(other.ID, false))
		n.abandon()
		n.start()
		must.NoError(t, n.RecoverTask(handle))
		deadline := time.Now().Add(3 * time.Second) // several collections
		for time.Now().Before(deadline) {
			must.Eq(t, 1, images(), must.Sprint("the image of a running task is gone"))
			time.Sleep(50 * time.Millisecond) // between two looks
		}
		must.NoError(t, n.DestroyTask(user.ID, true))
		n.waitFor("the image to be removed", func() bool { return images() == 0 })
	})
}

// The events of a task tell how its pull goes.
func TestPullsAreToldInEvents(t *testing.T) {
	host := insecureRegistry(t)
	ref, err := name.NewTag(host+"/scratch:v1", name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, scratch(t)))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		events, err := n.impl.TaskEvents(ctx)
		must.NoError(t, err)
		told := make(chan string, 2)
		go func() { // ends with ctx
			for {
				select {
				case e := <-events:
					told <- e.TaskName + ": " + e.Message
				case <-ctx.Done():
					return
				}
			}
		}()
		n.newTask("", "pulls", driver.TaskConfig{Image: host + "/scratch:v1"}, nil).start()
		for _, want := range []string{"in 1 layers", "1 of 1 layers"} {
			select {
			case e := <-told:
				must.StrContains(t, e, "pulls: Pulling image "+host+"/scratch:v1")
				must.StrContains(t, e, want)
			case <-ctx.Done():
				t.Fatal("no event")
			}
		}
	})
}

package driver_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

const (
	registryUser     = "user"
	registryPassword = "right"
)

// authRegistry is a registry on loopback that requires a password, counts the fetched blobs, and
// can cut connections.
type authRegistry struct {
	host     string
	fetched  atomic.Int32 // blobs
	cutBlobs atomic.Int32 // number of responses to cut in half
	next     http.Handler

	mu    sync.Mutex
	times map[string]int // fetches by digest
}

func newAuthRegistry(t *testing.T) *authRegistry {
	t.Helper()
	g := &authRegistry{times: map[string]int{}, next: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.host = strings.TrimPrefix(server.URL, "http://")
	trustWithoutTLS(t, g.host)
	return g
}

func (g *authRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		g.fetched.Add(1)
		g.mu.Lock()
		g.times[path.Base(r.URL.Path)]++
		g.mu.Unlock()
		if g.cutBlobs.Add(-1) >= 0 {
			w = &cut{ResponseWriter: w}
		}
	}
	g.next.ServeHTTP(w, r)
}

// cut closes the connection in the middle of a response.
type cut struct{ http.ResponseWriter }

func (c *cut) Write(p []byte) (int, error) {
	if len(p) < 2 {
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:len(p)/2])
	panic(http.ErrAbortHandler)
}

// push stores an image with an additional layer of random bytes.
func (g *authRegistry) push(t *testing.T, tag string, extraBytes int64) string {
	t.Helper()
	img := scratch(t)
	if extraBytes > 0 {
		img = withRandomLayer(t, img, extraBytes)
	}
	at := g.host + "/" + tag
	ref, err := name.NewTag(at, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, img, testimage.NoKeepAlive(), remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword})))
	return at
}

// layers lists the digests of an image's layers.
func (g *authRegistry) layers(t *testing.T, image string) []string {
	t.Helper()
	ref, err := name.NewTag(image, name.Insecure)
	must.NoError(t, err)
	img, err := remote.Image(ref, remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword}))
	must.NoError(t, err)
	m, err := img.Manifest()
	must.NoError(t, err)
	var out []string
	for _, l := range m.Layers {
		out = append(out, l.Digest.String())
	}
	must.Len(t, 2, out)
	return out
}

func withRandomLayer(t *testing.T, img v1.Image, size int64) v1.Image {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "random"))
	must.NoError(t, err)
	_, err = io.CopyN(f, rand.Reader, size)
	must.NoError(t, err)
	must.NoError(t, f.Close())
	archive := filepath.Join(t.TempDir(), "layer.tar")
	tarOf(t, dir, archive)
	b, err := os.ReadFile(archive)
	must.NoError(t, err)
	img, err = mutate.AppendLayers(img, static.NewLayer(b, types.DockerUncompressedLayer))
	must.NoError(t, err)
	return img
}

func TestRegistryCredentials(t *testing.T) {
	g := newAuthRegistry(t)
	image := g.push(t, "app:v1", 0)
	token := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + registryPassword))
	dir := t.TempDir()
	write := func(file, text string, mode os.FileMode) string {
		at := filepath.Join(dir, file)
		must.NoError(t, os.WriteFile(at, []byte(text), mode))
		return at
	}
	authFile := write("auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, g.host, token), 0o600)
	helped := write("helped.json", fmt.Sprintf(`{"credHelpers": {%q: "vault"}}`, g.host), 0o600)
	write("docker-credential-vault", fmt.Sprintf("#!/bin/sh\necho '{\"ServerURL\": \"%s\", \"Username\": \"%s\", \"Secret\": \"%s\"}'\n",
		g.host, registryUser, registryPassword), 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	withOneRuntime(t, func(t *testing.T, runtime string) {
		for name, tc := range map[string]struct {
			file  string
			auth  driver.AuthConfig
			mount *driver.MountAuth // mount the image, instead of running it
			ok    bool
		}{
			"auth":   {auth: driver.AuthConfig{Username: registryUser, Password: registryPassword}, ok: true},
			"file":   {file: authFile, ok: true},
			"helper": {file: helped, ok: true},
			"wrong":  {auth: driver.AuthConfig{Username: registryUser, Password: "wrong"}},
			"none":   {},

			"mount, auth":  {mount: &driver.MountAuth{Username: registryUser, Password: registryPassword}, ok: true},
			"mount, file":  {file: authFile, mount: &driver.MountAuth{}, ok: true},
			"mount, wrong": {mount: &driver.MountAuth{Username: registryUser, Password: "wrong"}},
			"mount, none":  {mount: &driver.MountAuth{}},
		} {
			n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Image.AuthFile = runtime, tc.file })
			config := driver.TaskConfig{Image: image, Auth: tc.auth}
			if tc.mount != nil {
				config = sh("test -x /image/init")
				config.Mounts = []driver.MountConfig{{Type: "image", Source: image, Target: "/image", Auth: *tc.mount}}
			}
			tk := n.newTask("", name, config, nil)
			if tc.ok {
				tk.start()
				must.Eq(t, 0, tk.wait().ExitCode, must.Sprint(name))
				continue
			}
			_, _, err := n.StartTask(tk.TaskConfig)
			must.ErrorContains(t, err, g.host, must.Sprint(name))
			must.ErrorContains(t, err, "app:v1", must.Sprint(name))
			must.StrNotContains(t, err.Error(), "right")
		}
	})
}

// TestPull_SharedByTasks checks that concurrent starts fetch an image once.
func TestPull_SharedByTasks(t *testing.T) {
	const size, tasks = 200 << 20, 20
	g := newAuthRegistry(t)
	image := g.push(t, "big:v1", size)
	layers := g.layers(t, image)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		clear(g.times)
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events, err := n.impl.TaskEvents(ctx)
		must.NoError(t, err)
		var pullEvents atomic.Int32
		go func() { // ends with ctx
			for {
				select {
				case e := <-events:
					if strings.Contains(e.Message, "MiB") {
						pullEvents.Add(1)
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		var wg sync.WaitGroup
		for i := range tasks {
			tk := n.newTask("", fmt.Sprint("t", i), driver.TaskConfig{
				Image: image, Auth: driver.AuthConfig{Username: registryUser, Password: registryPassword}}, nil)
			wg.Go(func() {
				tk.start()
				must.Eq(t, 0, tk.wait().ExitCode)
			})
		}
		wg.Wait()
		for _, layer := range layers {
			must.Eq(t, 1, g.times[layer], must.Sprint(layer))
		}
		must.Positive(t, pullEvents.Load(), must.Sprint("no event about the pull"))
	})
}

// TestPull_ConnectionCut checks that a start survives a connection that is cut within a layer.
func TestPull_ConnectionCut(t *testing.T) {
	g := newAuthRegistry(t)
	image := g.push(t, "cut:v1", 1<<20)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		g.fetched.Store(0)
		g.cutBlobs.Store(1)
		tk := n.newTask("", "cut", driver.TaskConfig{
			Image: image, Auth: driver.AuthConfig{Username: registryUser, Password: registryPassword}}, nil)
		tk.start()
		must.Eq(t, 0, tk.wait().ExitCode)
		must.Greater(t, 3, int(g.fetched.Load()), must.Sprint("fetched blobs"))
	})
}

// trustWithoutTLS allows registries without TLS in the operator's registries.conf.
func trustWithoutTLS(t *testing.T, hosts ...string) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "registries.conf")
	var text strings.Builder
	for _, host := range hosts {
		fmt.Fprintf(&text, "[[registry]]\nlocation = %q\ninsecure = true\n", host)
	}
	must.NoError(t, os.WriteFile(conf, []byte(text.String()), 0o644))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
}

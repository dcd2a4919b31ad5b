package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// entry is one tar entry of a layer: a directory if the name ends in "/", a
// symbolic link if link is set, else a file.
type entry struct{ name, body, link string }

func layer(t testing.TB, entries ...entry) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o755, Size: int64(len(e.body)), Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		must.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, e.body)
		must.NoError(t, err)
	}
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	must.NoError(t, err)
	return l
}

// build creates an image for linux/arch with the given layers.
func build(t testing.TB, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	must.NoError(t, err)
	config, err := img.ConfigFile()
	must.NoError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{
		Entrypoint: []string{"/bin/app"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin", "A=b"},
		User: "7:8", WorkingDir: "/srv", StopSignal: "SIGQUIT",
		Volumes: map[string]struct{}{"/data": {}, "/cache": {}}, Labels: map[string]string{"l": "v"},
	}
	img, err = mutate.ConfigFile(img, config)
	must.NoError(t, err)
	return img
}

func hello(t testing.TB, text string) v1.Image {
	t.Helper()
	return build(t, "amd64", layer(t, entry{name: "etc/"}, entry{name: "etc/hello", body: text}))
}

// bytesLayer creates a layer of incompressible bytes.
func bytesLayer(t testing.TB, size int64) v1.Layer {
	t.Helper()
	l, err := random.Layer(size, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	must.NoError(t, err)
	return l
}

// hub is a registry on loopback that counts requests and lets a test handle some of them.
type hub struct {
	host string
	conf string // registries.conf that allows plain HTTP for it

	mu        sync.Mutex
	gets      map[string]int // "manifests" and "blobs" fetched
	intercept func(w http.ResponseWriter, r *http.Request) (handled bool)
	user      string
	password  string
}

func newHub(t testing.TB) *hub {
	t.Helper()
	h := &hub{gets: map[string]int{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.handle(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	h.conf = filepath.Join(t.TempDir(), "registries.conf")
	conf := "[[registry]]\nlocation = \"" + h.host + "\"\ninsecure = true\n"
	must.NoError(t, os.WriteFile(h.conf, []byte(conf), 0o600))
	return h
}

func (h *hub) handle(w http.ResponseWriter, r *http.Request) bool {
	h.mu.Lock()
	intercept, user, password := h.intercept, h.user, h.password
	if r.Method == http.MethodGet {
		for _, kind := range []string{"manifests", "blobs"} {
			if strings.Contains(r.URL.Path, "/"+kind+"/") {
				h.gets[kind]++
			}
		}
	}
	h.mu.Unlock()
	if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return intercept != nil && intercept(w, r)
}

func (h *hub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// fetched returns the counts since the last call.
func (h *hub) fetched() (manifests, blobs int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	manifests, blobs = h.gets["manifests"], h.gets["blobs"]
	h.gets = map[string]int{}
	return manifests, blobs
}

func (h *hub) ref(repo string) string { return h.host + "/" + repo }

func (h *hub) push(t testing.TB, repo string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(h.ref(repo), name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, img, testimage.NoKeepAlive(), remote.WithAuth(h.auth())))
	h.fetched()
}

func (h *hub) pushIndex(t testing.TB, repo string, index v1.ImageIndex) {
	t.Helper()
	ref, err := name.ParseReference(h.ref(repo), name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.WriteIndex(ref, index, testimage.NoKeepAlive(), remote.WithAuth(h.auth())))
	h.fetched()
}

func (h *hub) auth() authn.Authenticator {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.user == "" {
		return authn.Anonymous
	}
	return &authn.Basic{Username: h.user, Password: h.password}
}

// hubHome returns a hub and a store that may use it.
func hubHome(t testing.TB) (home, *hub) {
	t.Helper()
	h := newHome(t)
	registry := newHub(t)
	h.conf.RegistriesConf = registry.conf
	return h, registry
}

func ociLayout(t testing.TB, path string, tagged map[string]v1.Image) {
	t.Helper()
	must.NoError(t, os.RemoveAll(path))
	var index v1.ImageIndex = empty.Index
	for tag, img := range tagged {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": tag}},
		})
	}
	_, err := layout.Write(path, index)
	must.NoError(t, err)
}

// convert copies an image between two references that image/v5 can write.
func convert(t testing.TB, from, to string) {
	t.Helper()
	src, err := alltransports.ParseImageName(from)
	must.NoError(t, err)
	dst, err := alltransports.ParseImageName(to)
	must.NoError(t, err)
	pc, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	must.NoError(t, err)
	_, err = copy.Image(context.Background(), pc, dst, src, &copy.Options{
		DestinationCtx: &types.SystemContext{BlobInfoCacheDir: t.TempDir()},
	})
	must.NoError(t, err)
	must.NoError(t, pc.Destroy())
}

// halfway makes the hub send half of a layer and then call broken instead of sending the rest.
func halfway(t *testing.T, hub *hub, l v1.Layer, broken func(*http.Request)) {
	t.Helper()
	digest, err := l.Digest()
	must.NoError(t, err)
	compressed, err := l.Compressed()
	must.NoError(t, err)
	body, err := io.ReadAll(compressed)
	must.NoError(t, err)
	hub.set(func() {
		hub.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
				return false
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			if _, err := w.Write(body[:len(body)/2]); err == nil {
				_ = http.NewResponseController(w).Flush()
			}
			broken(r)
			return true
		}
	})
}

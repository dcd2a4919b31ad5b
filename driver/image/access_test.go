package image_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

const password = "pw-5d0e"

// requireAuth makes the hub require one of two users. down makes it fail.
func requireAuth(hub *hub) (down *atomic.Bool) {
	down = &atomic.Bool{}
	hub.set(func() {
		hub.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			user, pass, _ := r.BasicAuth()
			switch {
			case down.Load():
				w.WriteHeader(http.StatusBadGateway)
			case pass != password || user != "ann" && user != "bob":
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				return false
			}
			return true
		}
	})
	return down
}

func as(user string) image.PullOptions {
	return image.PullOptions{Username: user, Password: password}
}

// TestEnsure_CachedImageOfOthers checks that a stored image is available to users who may pull it
// from its registry. Users who have pulled it may use it even while the registry is down.
func TestEnsure_CachedImageOfOthers(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "team/app:1", hello(t, "private"))
	down := requireAuth(hub)
	ref := parse(t, hub.ref("team/app:1"))
	s := h.open(t)
	ensure(t, s, ref.String(), as("ann"))

	policies := []image.PullPolicy{image.PullMissing, image.PullNever}
	refused := func(o image.PullOptions, is error) {
		t.Helper()
		for _, policy := range policies {
			o.Policy = policy
			_, err := s.Ensure(testContext(t), ref, o)
			must.Error(t, err, must.Sprint("image of another user, policy ", policy))
			if is != nil {
				must.ErrorIs(t, err, is)
			}
			must.StrNotContains(t, err.Error(), password)
		}
	}
	strangers := func(is error) {
		t.Helper()
		refused(image.PullOptions{}, is)
		refused(image.PullOptions{Username: "ann", Password: "wrong"}, is)
		refused(as("eve"), is)
	}
	strangers(image.ErrUnauthorized)
	policies = policies[1:] // the dropped policy retries until the timeout
	for range 2 {           // the second time without the process that pulled
		down.Store(true)
		ensure(t, s, ref.String(), as("ann"))
		strangers(nil)
		refused(as("bob"), nil)
		down.Store(false)
		must.NoError(t, s.Close())
		s = h.open(t)
	}
	hub.fetched()
	ensure(t, s, ref.String(), as("bob"))
	manifests, blobs := hub.fetched()
	must.Eq(t, 1, manifests)
	must.Eq(t, 0, blobs)
	down.Store(true)
	ensure(t, s, ref.String(), as("bob"))
	noSecretBelow(t, h.dir)
}

func noSecretBelow(t *testing.T, dir string) {
	t.Helper()
	must.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		must.StrNotContains(t, string(body), password, must.Sprint(path))
		return err
	}))
}

// Without an auth file no credentials are sent, regardless of the credentials of the process's
// user.
func TestEnsure_NoCredentialsOfRoot(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "private"))
	requireAuth(hub)
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, hub.host, base64.StdEncoding.EncodeToString([]byte("ann:"+password)))
	dir := t.TempDir()
	for _, name := range []string{
		"home/.docker/config.json", "home/.dockercfg", "home/.config/containers/auth.json",
		"xdg/containers/auth.json", "docker/config.json",
	} {
		path := filepath.Join(dir, name)
		must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must.NoError(t, os.WriteFile(path, []byte(auth), 0o600))
	}
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "home/.config"))
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "xdg"))
	t.Setenv("DOCKER_CONFIG", filepath.Join(dir, "docker"))
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "docker/config.json"))
	_, err := h.open(t).Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
	must.ErrorIs(t, err, image.ErrUnauthorized)

	h.conf.AuthFile = filepath.Join(dir, "docker/config.json")
	h.conf.Root, h.conf.RunRoot = filepath.Join(h.dir, "root2"), filepath.Join(h.dir, "run2")
	ensure(t, h.open(t), hub.ref("app:1"), image.PullOptions{})
}

// A layer of another user's image is not available through a manifest that names it.
func TestEnsure_LayerOfOthers(t *testing.T) {
	h, hub := hubHome(t)
	secret := hello(t, "private")
	hub.push(t, "app:1", secret)
	s := h.open(t)
	ensure(t, s, hub.ref("app:1"), image.PullOptions{})
	layers, err := secret.Layers()
	must.NoError(t, err)
	digest, err := layers[0].Digest()
	must.NoError(t, err)

	dir := filepath.Join(t.TempDir(), "img")
	ociLayout(t, dir, map[string]v1.Image{"v": secret})
	blob := filepath.Join(dir, "blobs/sha256", digest.Hex)
	body, err := os.ReadFile(blob)
	must.NoError(t, err)
	must.NoError(t, os.Remove(blob))
	_, err = s.Ensure(testContext(t), parse(t, "oci:"+dir), image.PullOptions{})
	must.ErrorContains(t, err, "is missing")

	other := newHub(t)
	conf, err := os.ReadFile(other.conf)
	must.NoError(t, err)
	have, err := os.ReadFile(h.conf.RegistriesConf)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(h.conf.RegistriesConf, append(have, conf...), 0o600))
	other.push(t, "app:1", secret)
	other.set(func() {
		other.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, digest.String()) {
				return false
			}
			w.WriteHeader(http.StatusNotFound)
			return true
		}
	})
	_, err = s.Ensure(testContext(t), parse(t, other.ref("app:1")), image.PullOptions{})
	must.Error(t, err)

	must.NoError(t, os.WriteFile(blob, body, 0o600))
	other.set(func() { other.intercept = nil })
	ensure(t, s, "oci:"+dir, image.PullOptions{})
	ensure(t, s, other.ref("app:1"), image.PullOptions{})
}

// rawImage returns a manifest with one layer at a URL, and its config.
func rawImage(t testing.TB, layerType, url string) (manifest, config []byte) {
	t.Helper()
	config = []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + sha("x") + `"]}}`)
	mime, configType := "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"
	if strings.Contains(layerType, "docker") {
		mime, configType = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json"
	}
	manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":%d,"digest":%q},`+
		`"layers":[{"mediaType":%q,"size":%d,"digest":%q,"urls":[%q]}]}`,
		mime, configType, len(config), sha(string(config)), layerType, len(canary), sha(canary), url)
	return manifest, config
}

func sha(s string) string { return digest.FromString(s).String() }

// rawLayout writes an OCI layout of a manifest and a config, in a nested index if nested is set.
func rawLayout(t testing.TB, dir string, manifest, config []byte, nested bool) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs/sha256")
	must.NoError(t, os.MkdirAll(blobs, 0o700))
	put := func(body []byte) {
		must.NoError(t, os.WriteFile(filepath.Join(blobs, strings.TrimPrefix(sha(string(body)), "sha256:")), body, 0o600))
	}
	index := func(mime string, body []byte) []byte {
		put(body)
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":%q,`+
			`"size":%d,"digest":%q,"platform":{"os":"linux","architecture":"amd64"}}]}`, mime, len(body), sha(string(body)))
	}
	put(config)
	top := index(mediaTypeOf(manifest), manifest)
	if nested {
		top = index("application/vnd.oci.image.index.v1+json", top)
	}
	must.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), top, 0o600))
}

func mediaTypeOf(manifest []byte) string {
	var m struct{ MediaType string }
	_ = json.Unmarshal(manifest, &m)
	return m.MediaType
}

func serveRaw(w http.ResponseWriter, r *http.Request, manifest, config []byte) bool {
	switch {
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", mediaTypeOf(manifest))
		_, _ = w.Write(manifest)
	case strings.HasSuffix(r.URL.Path, sha(string(config))):
		_, _ = w.Write(config)
	default:
		return false
	}
	return true
}

// Layers are fetched only from the image's source.
func TestEnsure_LayersWithURLs(t *testing.T) {
	var asked atomic.Int32
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, canary)
	}))
	defer metadata.Close()
	h, hub := hubHome(t)
	s := h.open(t)
	dir := t.TempDir()
	for _, kind := range []string{
		"application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	} {
		manifest, config := rawImage(t, kind, metadata.URL)
		for _, nested := range []bool{false, true} {
			at := filepath.Join(dir, strings.ReplaceAll(kind, "/", "-"), fmt.Sprint(nested))
			rawLayout(t, at, manifest, config, nested)
			refusedURLs(t, s, "oci:"+at)
		}
		hub.set(func() {
			hub.intercept = func(w http.ResponseWriter, r *http.Request) bool { return serveRaw(w, r, manifest, config) }
		})
		refusedURLs(t, s, hub.ref("app:"+fmt.Sprint(len(kind))))
	}
	must.Eq(t, 0, asked.Load())
	must.SliceEmpty(t, h.layerDirs(t))
}

func refusedURLs(t *testing.T, s *image.Store, ref string) {
	t.Helper()
	_, err := s.Ensure(testContext(t), parse(t, ref), image.PullOptions{})
	must.ErrorIs(t, err, image.ErrInvalidImage)
	must.StrContains(t, err.Error(), "(urls)")
	must.StrNotContains(t, err.Error(), canary)
}

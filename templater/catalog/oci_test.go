package catalog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/shoenig/test/must"
)

// newRegistry serves a registry; with a password, to user only. The result is its
// host and port.
func newRegistry(t *testing.T, password string) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // not that of whoever runs the tests
	return strings.TrimPrefix(server.URL, "http://")
}

// push pushes layers as oras does, and returns the digest of the manifest.
func push(t *testing.T, host, tag, password, mediaType string, layers ...[]byte) string {
	t.Helper()
	repository, err := name.NewRepository(host + "/team/catalog")
	must.NoError(t, err)
	options := []remote.Option{remote.WithAuth(&authn.Basic{Username: "user", Password: password}), remote.WithTransport(client().Transport)}
	var blobs []v1.Descriptor
	for _, layer := range layers {
		must.NoError(t, remote.WriteLayer(repository, static.NewLayer(layer, types.MediaType(mediaType)), options...))
		blobs = append(blobs, v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(layer), Size: int64(len(layer))})
	}
	manifest := manifestOf(t, blobs...)
	must.NoError(t, remote.Put(repository.Tag(tag), manifest, options...))
	return digest.FromBytes(manifest).String()
}

// rawManifest is a manifest that remote.Put accepts.
type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error) { return m, nil }

func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func manifestOf(t *testing.T, layers ...v1.Descriptor) rawManifest {
	t.Helper()
	manifest := v1.Manifest{
		MediaType: v1.MediaTypeImageManifest, ArtifactType: "application/vnd.nomad-sidecar.catalog.v1",
		Config: v1.DescriptorEmptyJSON, Layers: layers,
	}
	manifest.SchemaVersion = 2
	text, err := json.Marshal(manifest)
	must.NoError(t, err)
	return text
}

// hostile serves what a registry that does not follow the specification might return:
// handlers by the last element of the path, and {} elsewhere.
func hostile(t *testing.T, handlers map[string]http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := handlers[path.Base(r.URL.Path)]; handler != nil {
			handler(w, r)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return strings.TrimPrefix(server.URL, "http://")
}

func answer(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
}

// endless writes until the client closes the connection.
func endless(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		for block := bytes.Repeat([]byte(" secret"), 1<<16); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

func TestOCI(t *testing.T) {
	host, g := newRegistry(t, ""), newGetter(t)
	first := push(t, host, "v1", "", v1.MediaTypeImageLayerGzip, tarball(t, file("sidecars/x/x.sidecar.hcl", definition("x", "1.0.0", 10))))
	address := "oci://" + host + "/team/catalog:v1"
	locked := got(t, g, address, nil, false).Entry
	must.Eq(t, first, locked.Origin)
	must.Eq(t, OCI, locked.Kind)
	sidecars, diags := opened(t, g.Cache, locked)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.MapContainsKeys(t, sidecars, []string{"x 1.0.0"})
	must.Eq(t, first, got(t, g, "oci://"+host+"/team/catalog@"+first+"//sidecars", nil, false).Entry.Origin)

	// The tag moves: what is locked is still there, by its digest.
	second := push(t, host, "v1", "", v1.MediaTypeImageLayerGzip,
		tarball(t, file("sidecars/x/x.sidecar.hcl", definition("x", "1.0.0", 10))), tarball(t, file("sidecars/y.sidecar.hcl", definition("y", "0.1.0", 1))))
	empty := *g
	empty.Cache.Dir = t.TempDir()
	must.Eq(t, locked, got(t, &empty, address, locked, false).Entry)
	upgraded := got(t, g, address, locked, true)
	must.Eq(t, second, upgraded.Entry.Origin)
	must.Eq(t, []string{"y 0.1.0 (" + short(upgraded.Entry.Sidecars["y 0.1.0"]) + ") is new"}, upgraded.Changes)

	// Until it is deleted.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+host+"/v2/team/catalog/manifests/"+first, nil)
	must.NoError(t, err)
	response, err := client().Do(request)
	must.NoError(t, err)
	must.NoError(t, response.Body.Close())
	must.Eq(t, http.StatusAccepted, response.StatusCode)
	empty.Cache.Dir = t.TempDir()
	text := fails(t, &empty, address, locked, false)
	must.StrContains(t, text, "returned manifest "+second+", which differs from the locked manifest "+first)
	must.StrContains(t, text, "y 0.1.0 (")
}

func TestOCIRefuses(t *testing.T) {
	host, g := newRegistry(t, ""), newGetter(t)
	push(t, host, "image", "", "application/octet-stream", []byte("x"))
	push(t, host, "hostile", "", v1.MediaTypeImageLayerGzip, tarball(t, file("../x.sidecar.hcl", "")))
	push(t, host, "empty", "", v1.MediaTypeEmptyJSON, []byte("{}"))
	push(t, host, "none", "", v1.MediaTypeImageLayer)
	for tag, want := range map[string]string{
		"image":   `its type is "application/octet-stream": push a folder`,
		"hostile": "which is outside the catalog",
		"empty":   `its type is "application/vnd.oci.empty.v1+json"`, // oras pushes it without files
		"none":    "it has 0 layers: a catalog has 1 to 16",
		"missing": "not found",
	} {
		must.StrContains(t, fails(t, g, "oci://"+host+"/team/catalog:"+tag, nil, false), want)
	}
}

// A registry that gives another layer than the manifest names is not believed.
func TestOCIWrongLayer(t *testing.T) {
	honest, g := newRegistry(t, ""), newGetter(t)
	uncompressed := func(memory int) []byte {
		r, err := gzip.NewReader(bytes.NewReader(tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", memory)))))
		must.NoError(t, err)
		text, err := io.ReadAll(r)
		must.NoError(t, err)
		return text
	}
	push(t, honest, "v1", "", v1.MediaTypeImageLayer, uncompressed(10))
	liar := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: honest}) },
		ModifyResponse: func(r *http.Response) error {
			if strings.Contains(r.Request.URL.Path, "/blobs/") {
				r.Body = io.NopCloser(bytes.NewReader(uncompressed(20)))
			}
			return nil
		},
		Transport: client().Transport,
	})
	defer liar.Close()
	got(t, g, "oci://"+honest+"/team/catalog:v1", nil, false)
	text := fails(t, g, "oci://"+strings.TrimPrefix(liar.URL, "http://")+"/team/catalog:v1", nil, false)
	must.StrContains(t, text, "mismatched digest")
}

func TestOCICredentials(t *testing.T) {
	const password = "s3cret/word"
	host, g := newRegistry(t, password), newGetter(t)
	push(t, host, "v1", password, v1.MediaTypeImageLayerGzip, tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10))))
	address := "oci://" + host + "/team/catalog:v1"
	must.StrContains(t, fails(t, g, address, nil, false), "credential")

	login(t, host, "s3cret/wrong")
	text := fails(t, g, address, nil, false)
	must.StrContains(t, text, "401: Unauthorized")
	must.StrNotContains(t, text, "s3cret")
	login(t, host, password)
	must.MapContainsKeys(t, got(t, g, address, nil, false).Entry.Sidecars, []string{"x 1.0.0"})
}

func TestOCI_HostileRegistry(t *testing.T) {
	blob := tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10)))
	layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	sized := func(size int64) v1.Descriptor {
		other := layer
		other.Size = size
		return other
	}
	invalid := layer
	invalid.Digest = "sha256:../../x"
	challenge := func(header string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", strings.ReplaceAll(header, "HOST", r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	const v2, manifest = "v2", "v1" // the last elements of the paths
	for name, c := range map[string]struct {
		handlers map[string]http.HandlerFunc
		want     string
	}{
		"index":             {map[string]http.HandlerFunc{manifest: answer([]byte(`{"manifests":[]}`))}, "it is an index of several artifacts"},
		"manifest too big":  {map[string]http.HandlerFunc{manifest: endless(http.StatusOK)}, "the manifest has more than 4194304 bytes"},
		"manifest no JSON":  {map[string]http.HandlerFunc{manifest: answer([]byte("x"))}, "invalid character 'x'"},
		"too many layers":   {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, slices.Repeat([]v1.Descriptor{layer}, maxLayers+1)...))}, "it has 17 layers: a catalog has 1 to 16"},
		"layers too big":    {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, layer, sized(maxDownloadBytes))), layer.Digest.String(): answer(blob)}, "it is too large for a catalog: more than 67108864 bytes"},
		"layer longer":      {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, sized(20))), layer.Digest.String(): answer(blob)}, "it is too large for a catalog: more than 20 bytes"},
		"layer shorter":     {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, sized(layer.Size+1))), layer.Digest.String(): answer(blob)}, "mismatched digest"},
		"layer appended to": {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, layer)), layer.Digest.String(): answer(append(slices.Clone(blob), 0))}, "too large for a catalog"},
		"negative size":     {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, sized(-1))), layer.Digest.String(): answer(blob)}, "too large for a catalog"},
		"layer's digest":    {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, invalid))}, "invalid checksum digest"},
		"layer missing":     {map[string]http.HandlerFunc{manifest: answer(manifestOf(t, layer)), layer.Digest.String(): http.NotFound}, "not found"},
		"endless ping":      {map[string]http.HandlerFunc{v2: endless(http.StatusOK), manifest: http.NotFound}, "not found"},
		"endless error":     {map[string]http.HandlerFunc{v2: endless(http.StatusTeapot)}, "response status code 418: I'm a teapot"},
		"endless answer":    {map[string]http.HandlerFunc{manifest: endless(http.StatusTeapot)}, "response status code 418: I'm a teapot"},
		"endless token": {
			map[string]http.HandlerFunc{v2: challenge(`Bearer realm="http://HOST/token"`), "token": endless(http.StatusOK)}, "invalid character"},
		"no token": {
			map[string]http.HandlerFunc{v2: challenge(`Bearer realm="http://HOST/token"`), "token": answer([]byte(`{"secret": 1}`))}, "no token in bearer response:."},
		"realm by http": {map[string]http.HandlerFunc{v2: challenge(`Bearer realm="http://example.com/token"`)}, "http to another machine, example.com, is not encrypted"},
		"redirect to http": {map[string]http.HandlerFunc{
			manifest: answer(manifestOf(t, layer)), layer.Digest.String(): redirect("http://example.com/x?token=secret"),
		}, "http to another machine, example.com, is not encrypted"},
		"redirect to error": {map[string]http.HandlerFunc{
			manifest: redirect("/x?token=secret"), "x": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusForbidden) },
		}, `/x": response status code 403: Forbidden`},
		"redirects": {map[string]http.HandlerFunc{manifest: redirect("/v2/team/catalog/manifests/v1")}, "stopped after 10 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGetter(t)
			g.Timeout = time.Minute
			text := fails(t, g, "oci://"+hostile(t, c.handlers)+"/team/catalog:v1", nil, false)
			must.StrContains(t, text, c.want)
			must.Less(t, 2000, len(text))
			if name != "redirect to http" { // the URL is quoted
				must.StrNotContains(t, text, "secret")
			}
		})
	}
}

func TestOCI_ManifestDigest(t *testing.T) {
	sum := digest.FromString("other")
	host := hostile(t, map[string]http.HandlerFunc{sum.String(): answer(manifestOf(t))})
	address := "oci://" + host + "/team/catalog@" + sum.String()
	must.StrContains(t, fails(t, newGetter(t), address, nil, false), "mismatched digest")
	locked := &Entry{Kind: OCI, Address: "oci://" + host + "/team/catalog:v1", Origin: sum.String()}
	must.StrContains(t, fails(t, newGetter(t), locked.Address, locked, false), "mismatched digest")
	locked.Origin = "../x"
	must.StrContains(t, fails(t, newGetter(t), locked.Address, locked, false), `the locked manifest is "../x"`)
}

func TestOCI_Timeout(t *testing.T) {
	host := hostile(t, map[string]http.HandlerFunc{"v1": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }})
	g := newGetter(t)
	g.Timeout = 100 * time.Millisecond
	must.StrContains(t, fails(t, g, "oci://"+host+"/team/catalog:v1", nil, false), "it took longer than 100ms")
}

// 0.0.0.0 reaches the server, but is not a loopback address.
func TestOCI_PlainHTTP(t *testing.T) {
	asked := false
	host := hostile(t, map[string]http.HandlerFunc{"v2": func(http.ResponseWriter, *http.Request) { asked = true }})
	address := "oci://" + strings.Replace(host, "127.0.0.1", "0.0.0.0", 1) + "/team/catalog:v1"
	must.StrContains(t, fails(t, newGetter(t), address, nil, false), "server gave HTTP response to HTTPS client")
	must.False(t, asked)
	// Private addresses and names with 127.0.0.1 in them are tried over HTTP by transport.
	for _, host := range []string{"10.1.2.3", "127.0.0.1.example.com", "x.localhost"} {
		_, err := client().Get("http://" + host + "/v2/")
		must.ErrorContains(t, err, "http to another machine, "+host+", is not encrypted")
	}
}

func TestOCI_UnknownCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	text := fails(t, newGetter(t), "oci://"+strings.TrimPrefix(server.URL, "https://")+"/team/catalog:v1", nil, false)
	must.StrContains(t, text, "certificate")
}

// login writes what docker login does.
func login(t *testing.T, host, password string) {
	t.Helper()
	token := base64.StdEncoding.EncodeToString([]byte("user:" + password))
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, token)
	must.NoError(t, os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600))
}

func TestOCI_RedirectWithoutCredentials(t *testing.T) {
	blob := tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10)))
	layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	requests := 0
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		must.Eq(t, "", r.Header.Get("Authorization"))
		_, _ = w.Write(blob)
	}))
	defer storage.Close()
	for _, scheme := range []string{"Basic", "Bearer"} {
		// With a token for each request, or with the credentials themselves.
		authorized := func(next http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.Header.Get("Authorization"), scheme+" ") {
					w.Header().Set("WWW-Authenticate", scheme+` realm="http://`+r.Host+`/token"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				next(w, r)
			}
		}
		host := hostile(t, map[string]http.HandlerFunc{
			"v2": authorized(answer(nil)), "token": answer([]byte(`{"token":"secret"}`)), "v1": authorized(answer(manifestOf(t, layer))),
			layer.Digest.String(): authorized(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, storage.URL, http.StatusFound) }),
		})
		login(t, host, "secret")
		got(t, newGetter(t), "oci://"+host+"/team/catalog:v1", nil, false)
	}
	must.Eq(t, 2, requests)
}

// Without a login, no file or program of the working directory is used.
func TestOCI_CredentialsOfWorkingDirectory(t *testing.T) {
	host, dir := newRegistry(t, "s3cret"), t.TempDir()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Chdir(dir)
	must.NoError(t, os.MkdirAll("containers", 0o755))
	must.NoError(t, os.MkdirAll("docker-credential-", 0o755))
	helper := "#!/bin/sh\ntouch " + filepath.Join(dir, "ran") + "\n"
	must.NoError(t, os.WriteFile("docker-credential-/x", []byte(helper), 0o755))
	must.NoError(t, os.WriteFile("containers/auth.json", fmt.Appendf(nil, `{"credHelpers":{%q:"/x"}}`, host), 0o600))
	must.StrContains(t, fails(t, newGetter(t), "oci://"+host+"/team/catalog:v1", nil, false), "401: Unauthorized")
	_, err := os.Stat("ran")
	must.ErrorIs(t, err, os.ErrNotExist)
}

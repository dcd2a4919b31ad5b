package catalog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/shoenig/test/must"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
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
	repository, err := remote.NewRepository(host + "/team/catalog")
	must.NoError(t, err)
	repository.PlainHTTP = true
	repository.Client = &auth.Client{Client: client(), Credential: auth.StaticCredential(host, auth.Credential{Username: "user", Password: password})}
	var blobs []v1.Descriptor
	for _, layer := range layers {
		blob, err := oras.PushBytes(t.Context(), repository, mediaType, layer)
		must.NoError(t, err)
		blobs = append(blobs, blob)
	}
	manifest, err := oras.PackManifest(t.Context(), repository, oras.PackManifestVersion1_1, "application/vnd.nomad-sidecar.catalog.v1",
		oras.PackManifestOptions{Layers: blobs})
	must.NoError(t, err)
	must.NoError(t, repository.Tag(t.Context(), manifest, tag))
	return manifest.Digest.String()
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
	push(t, host, "none", "", v1.MediaTypeImageLayer)
	for tag, want := range map[string]string{
		"image":   `its type is "application/octet-stream": push a folder`,
		"hostile": "which is outside the catalog",
		"none":    "layer", // the empty one that stands for no layers
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

	login := func(password string) {
		token := base64.StdEncoding.EncodeToString([]byte("user:" + password))
		config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, token)
		must.NoError(t, os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600))
	}
	login("s3cret/wrong")
	text := fails(t, g, address, nil, false)
	must.StrContains(t, text, "401: Unauthorized")
	must.StrNotContains(t, text, "s3cret")
	login(password)
	must.MapContainsKeys(t, got(t, g, address, nil, false).Entry.Sidecars, []string{"x 1.0.0"})
}

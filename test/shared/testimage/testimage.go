// Package testimage creates a minimal working image: one static program that every test machine has.
//
// It serves no registry, pushes to none and runs nothing.
package testimage

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"
)

// Program is the image's /init. With "--version" it prints "tini version …" and exits, with "-P" it
// waits until it is killed.
const Program = "/usr/bin/catatonit"

// NoKeepAlive is for pushes in tests with a leak check. A client may dial for a request that then
// uses another connection, and a connection kept open may appear after the check has recorded the
// open descriptors.
func NoKeepAlive() remote.Option {
	return remote.WithTransport(&http.Transport{DisableKeepAlives: true})
}

// New creates an image of the program only, which runs as user 1234 with "--version". The changes
// are applied to its configuration.
func New(t testing.TB, changes ...func(*v1.Config)) v1.Image {
	t.Helper()
	program, err := os.ReadFile(Program)
	if err != nil {
		t.Skipf("%s is needed as the content of an image: %v", Program, err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	must.NoError(t, w.WriteHeader(&tar.Header{Name: "init", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must.NoError(t, err)
	config := v1.Config{Entrypoint: []string{"/init"}, Cmd: []string{"--version"}, User: "1234", Env: []string{"FROM=image"}}
	for _, change := range changes {
		change(&config)
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"}, Config: config,
	})
	must.NoError(t, err)
	img, err = mutate.AppendLayers(img, l)
	must.NoError(t, err)
	return img
}

// Layout writes an image as an OCI layout to an empty or missing directory and returns its
// reference, with the tag v1.
func Layout(t testing.TB, dir string, img v1.Image) string {
	t.Helper()
	path, err := layout.Write(dir, empty.Index)
	must.NoError(t, err)
	must.NoError(t, path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})))
	return "oci:" + dir + ":v1"
}

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"
)

// catalog has one sidecar, whose program is in bin.
type catalog struct {
	t   *testing.T
	dir string
}

// newCatalog takes a line of the program's main.go.
func newCatalog(t *testing.T, line string) catalog {
	t.Helper()
	c := catalog{t, t.TempDir()}
	c.write("sidecars/mini/mini.sidecar.hcl", "sidecar \"mini\" {\n  version = \"1.2.3\"\n  summary = \"A small one.\"\n  task \"mini\" {}\n}\n")
	c.write("sidecars/mini/main.go", "// Mini does nothing.\npackage main\n\n"+line+"\nfunc main() {}\n")
	c.write("sidecars/mini/go.mod", "module example.test/mini\n")
	c.build()
	return c
}

func (c catalog) write(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	must.NoError(c.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must.NoError(c.t, os.WriteFile(path, []byte(text), 0o644))
}

func (c catalog) build(env ...string) {
	c.t.Helper()
	build := exec.CommandContext(c.t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(c.dir, "bin", "mini"), ".")
	build.Dir = filepath.Join(c.dir, "sidecars", "mini")
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"), env...)
	out, err := build.CombinedOutput()
	must.NoError(c.t, err, must.Sprint(string(out)))
}

// run makes the image, and gives what it printed.
func (c catalog) run(out string) (string, error) {
	var stdout strings.Builder
	err := run([]string{
		"-sidecars", filepath.Join(c.dir, "sidecars"), "-bin", filepath.Join(c.dir, "bin"), "-out", filepath.Join(c.dir, out), "mini",
	}, &stdout, io.Discard)
	return stdout.String(), err
}

// image reads a layout with one image.
func (c catalog) image(dir string) (v1.Image, v1.Descriptor) {
	c.t.Helper()
	at, err := layout.FromPath(filepath.Join(c.dir, dir))
	must.NoError(c.t, err)
	index, err := at.ImageIndex()
	must.NoError(c.t, err)
	manifest, err := index.IndexManifest()
	must.NoError(c.t, err)
	must.SliceLen(c.t, 1, manifest.Manifests)
	image, err := at.Image(manifest.Manifests[0].Digest)
	must.NoError(c.t, err)
	return image, manifest.Manifests[0]
}

// entry is a file of an image.
type entry struct {
	header tar.Header
	text   []byte
}

func entries(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	layers, err := image.Layers()
	must.NoError(t, err)
	found := map[string]entry{}
	for _, layer := range layers {
		kind, err := layer.MediaType()
		must.NoError(t, err)
		must.Eq(t, types.OCILayer, kind)
		content, err := layer.Uncompressed()
		must.NoError(t, err)
		for r := tar.NewReader(content); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must.NoError(t, err)
			text, err := io.ReadAll(r)
			must.NoError(t, err)
			found[header.Name] = entry{*header, text}
		}
		must.NoError(t, content.Close())
	}
	return found
}

func TestAnImageHasTheProgramAndNothingElse(t *testing.T) {
	c := newCatalog(t, "")
	printed, err := c.run("images")
	must.NoError(t, err)
	image, descriptor := c.image("images/mini")
	must.Eq(t, "image "+filepath.Join(c.dir, "images", "mini")+":1.2.3 "+descriptor.Digest.String()+"\n", printed)
	must.Eq(t, "1.2.3", descriptor.Annotations["org.opencontainers.image.ref.name"])
	must.Eq(t, types.OCIManifestSchema1, descriptor.MediaType)

	config, err := image.ConfigFile()
	must.NoError(t, err)
	must.Eq(t, []string{"/opt/nomad-sidecar/bin/mini"}, config.Config.Cmd)
	must.SliceEmpty(t, config.Config.Entrypoint, must.Sprint("a task's command would be its arguments"))
	must.Eq(t, descriptor.Platform.Architecture, config.Architecture)
	manifest, err := image.Manifest()
	must.NoError(t, err)
	for _, labels := range []map[string]string{config.Config.Labels, manifest.Annotations} {
		must.Eq(t, "mini", labels["org.opencontainers.image.title"])
		must.Eq(t, "A small one.", labels["org.opencontainers.image.description"])
		must.Eq(t, "1.2.3", labels["org.opencontainers.image.version"])
		must.Eq(t, "MPL-2.0", labels["org.opencontainers.image.licenses"])
		must.MapNotContainsKey(t, labels, "org.opencontainers.image.created")
	}

	program, err := os.ReadFile(filepath.Join(c.dir, "bin", "mini"))
	must.NoError(t, err)
	found := entries(t, image)
	must.MapContainsKeys(t, found, []string{"opt/", "opt/nomad-sidecar/", "opt/nomad-sidecar/bin/", "opt/nomad-sidecar/bin/mini"})
	must.MapLen(t, 4, found)
	must.True(t, bytes.Equal(program, found["opt/nomad-sidecar/bin/mini"].text))
	must.Eq(t, 0o755, found["opt/nomad-sidecar/bin/mini"].header.Mode)
}

func TestTheSameProgramGivesTheSameImage(t *testing.T) {
	c := newCatalog(t, "//image:certificates")
	_, err := c.run("first")
	must.NoError(t, err)
	future := time.Now().Add(time.Hour)
	must.NoError(t, os.Chtimes(filepath.Join(c.dir, "bin", "mini"), future, future))
	_, err = c.run("second")
	must.NoError(t, err)
	image, first := c.image("first/mini")
	_, second := c.image("second/mini")
	must.Eq(t, first, second)

	config, err := image.ConfigFile()
	must.NoError(t, err)
	must.True(t, config.Created.IsZero())
	for _, h := range config.History {
		must.True(t, h.Created.IsZero())
	}
	for name, e := range entries(t, image) {
		must.Eq(t, 0, e.header.ModTime.Unix(), must.Sprint(name))
		must.Eq(t, "", e.header.Uname+e.header.Gname)
		must.Eq(t, 0, e.header.Uid+e.header.Gid)
	}

	_, err = c.run("second") // in place of what is there
	must.NoError(t, err)
	left, err := os.ReadDir(filepath.Join(c.dir, "second"))
	must.NoError(t, err)
	must.SliceLen(t, 1, left)
}

func TestCertificatesWhereTheyAreAskedFor(t *testing.T) {
	c := newCatalog(t, "//image:certificates it calls others")
	_, err := c.run("images")
	must.NoError(t, err)
	image, _ := c.image("images/mini")
	found := entries(t, image)["etc/ssl/certs/ca-certificates.crt"]
	must.Eq(t, 0o644, found.header.Mode)
	pool := x509.NewCertPool()
	must.True(t, pool.AppendCertsFromPEM(found.text))
	must.Greater(t, 100, bytes.Count(found.text, []byte("BEGIN CERTIFICATE")))
}

func TestThePlatformIsTheProgramsOwn(t *testing.T) {
	c := newCatalog(t, "")
	c.build("GOARCH=arm64")
	_, err := c.run("images")
	must.NoError(t, err)
	image, descriptor := c.image("images/mini")
	must.Eq(t, &v1.Platform{OS: "linux", Architecture: "arm64"}, descriptor.Platform)
	raw, err := image.RawConfigFile()
	must.NoError(t, err)
	var config struct{ OS, Architecture string }
	must.NoError(t, json.Unmarshal(raw, &config))
	must.Eq(t, "linux/arm64", config.OS+"/"+config.Architecture)
}

func TestRefusals(t *testing.T) {
	cases := map[string]struct {
		change func(c catalog)
		says   string
	}{
		"no definition": {func(c catalog) { must.NoError(t, os.Remove(filepath.Join(c.dir, "sidecars/mini/mini.sidecar.hcl"))) }, "definition of mini: "},
		"no version": {func(c catalog) {
			c.write("sidecars/mini/mini.sidecar.hcl", "sidecar \"mini\" {\n  summary = \"x\"\n}\n")
		}, "the sidecar has no version"},
		"no program":    {func(c catalog) { must.NoError(t, os.Remove(filepath.Join(c.dir, "bin/mini"))) }, "make build makes it"},
		"no Go program": {func(c catalog) { c.write("bin/mini", "#!/bin/sh\n") }, "image of mini: "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCatalog(t, "")
			tc.change(c)
			_, err := c.run("images")
			must.ErrorContains(t, err, tc.says)
			_, err = os.Stat(filepath.Join(c.dir, "images", "mini"))
			must.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

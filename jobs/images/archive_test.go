package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"
)

// archives makes archives of mini for two architectures and of nomad-sidecar.
func (c catalog) archives(out string, version string) {
	c.t.Helper()
	for _, arch := range []string{"amd64", "arm64"} {
		c.build("GOARCH=" + arch)
		dir := filepath.Join(c.dir, arch)
		must.NoError(c.t, os.MkdirAll(dir, 0o755))
		text, err := os.ReadFile(filepath.Join(c.dir, "bin/mini"))
		must.NoError(c.t, err)
		for _, name := range []string{"mini", "nomad-sidecar"} {
			must.NoError(c.t, os.WriteFile(filepath.Join(dir, name), text, 0o755))
		}
	}
	must.NoError(c.t, run([]string{
		"-sidecars", filepath.Join(c.dir, "sidecars"), "-bin", filepath.Join(c.dir, "amd64"), "-bin", filepath.Join(c.dir, "arm64"),
		"-archives", filepath.Join(c.dir, out), "-nomad-sidecar", version, "mini",
	}, io.Discard, io.Discard))
}

// unpack returns the directory of the layout in an archive.
func unpack(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	file, err := os.Open(path)
	must.NoError(t, err)
	defer file.Close()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		must.NoError(t, err)
		must.Eq(t, 0, header.ModTime.Unix())
		name := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			must.NoError(t, os.MkdirAll(name, 0o755))
			continue
		}
		text, err := io.ReadAll(r)
		must.NoError(t, err)
		must.NoError(t, os.WriteFile(name, text, 0o644))
	}
}

func TestArchive_BothPlatforms(t *testing.T) {
	c := newCatalog(t, "")
	c.archives("out", "0.2.0-dev+abc")
	left, err := filepath.Glob(filepath.Join(c.dir, "out", "*"))
	must.NoError(t, err)
	must.Eq(t, []string{filepath.Join(c.dir, "out/mini_1.2.3.oci.tar"), filepath.Join(c.dir, "out/nomad-sidecar_0.2.0-dev+abc.oci.tar")}, left)

	for name, version := range map[string]string{"mini_1.2.3": "1.2.3", "nomad-sidecar_0.2.0-dev+abc": "0.2.0-dev-abc"} {
		at, err := layout.FromPath(unpack(t, filepath.Join(c.dir, "out", name+".oci.tar")))
		must.NoError(t, err)
		top, err := at.ImageIndex()
		must.NoError(t, err)
		manifest, err := top.IndexManifest()
		must.NoError(t, err)
		must.SliceLen(t, 1, manifest.Manifests)
		must.Eq(t, types.OCIImageIndex, manifest.Manifests[0].MediaType)
		must.Eq(t, version, manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"])
		index, err := top.ImageIndex(manifest.Manifests[0].Digest)
		must.NoError(t, err)
		images, err := index.IndexManifest()
		must.NoError(t, err)
		must.SliceLen(t, 2, images.Manifests)
		for i, arch := range []string{"amd64", "arm64"} {
			must.Eq(t, "linux/"+arch, images.Manifests[i].Platform.String())
			image, err := index.Image(images.Manifests[i].Digest)
			must.NoError(t, err)
			config, err := image.ConfigFile()
			must.NoError(t, err)
			must.Eq(t, arch, config.Architecture)
		}
	}
}

func TestArchive_Reproducible(t *testing.T) {
	c := newCatalog(t, "//image:certificates")
	c.archives("first", "0.2.0")
	c.archives("second", "0.2.0")
	for _, name := range []string{"mini_1.2.3.oci.tar", "nomad-sidecar_0.2.0.oci.tar"} {
		first, err := os.ReadFile(filepath.Join(c.dir, "first", name))
		must.NoError(t, err)
		second, err := os.ReadFile(filepath.Join(c.dir, "second", name))
		must.NoError(t, err)
		must.True(t, string(first) == string(second), must.Sprint(name))
	}
}

func TestArchive_Refusals(t *testing.T) {
	c := newCatalog(t, "")
	err := run([]string{"-sidecars", filepath.Join(c.dir, "sidecars"), "-bin", "a", "-bin", "b", "mini"}, io.Discard, io.Discard)
	must.ErrorContains(t, err, "a layout has one platform")
	err = run([]string{
		"-sidecars", filepath.Join(c.dir, "sidecars"), "-bin", filepath.Join(c.dir, "none"), "-archives", filepath.Join(c.dir, "out"), "mini",
	}, io.Discard, io.Discard)
	must.ErrorContains(t, err, "make build makes it")
	_, err = os.Stat(filepath.Join(c.dir, "out"))
	must.ErrorIs(t, err, os.ErrNotExist)
}

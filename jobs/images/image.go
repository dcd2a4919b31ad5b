package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// programs is the directory that the definitions run programs from, also on clients.
	programs = "opt/nomad-sidecar/bin"

	// authorities is the file that crypto/x509 reads first.
	authorities = "etc/ssl/certs/ca-certificates.crt"

	source = "https://github.com/nomad-sidecar/nomad-sidecar"
)

// write writes the image of the program in the only directory of bins as an OCI
// layout to dir and replaces an existing one.
func write(dir string, about description, bins ...string) (v1.Hash, error) {
	image, platform, err := build(about, filepath.Join(bins[0], about.name))
	if err != nil {
		return v1.Hash{}, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return v1.Hash{}, err
	}
	// Build in a temporary directory, so that dir never holds a partial image.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "."+about.name+"-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(fresh)
	at, err := layout.Write(fresh, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	err = at.AppendImage(image, layout.WithPlatform(platform), layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": about.tag(),
	}))
	if err != nil {
		return v1.Hash{}, err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return v1.Hash{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return v1.Hash{}, err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return v1.Hash{}, err
	}
	return image.Digest()
}

// build returns the image of a program, for the platform the program was built for.
func build(about description, program string) (v1.Image, v1.Platform, error) {
	platform, err := platformOf(program)
	if err != nil {
		return nil, platform, err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, platform, err
	}
	at := path.Join("/", programs, about.name)
	labels := about.labels()
	image, err := mutate.ConfigFile(
		mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		&v1.ConfigFile{
			OS: platform.OS, Architecture: platform.Architecture,
			RootFS: v1.RootFS{Type: "layers"},
			// No entrypoint: a task's command would become its arguments.
			Config: v1.Config{Cmd: []string{at}, WorkingDir: "/", Labels: labels},
		})
	if err != nil {
		return nil, platform, err
	}
	files := []file{{at, 0o755, text}}
	if about.certificates {
		// The layer that changes least comes first.
		files = append([]file{{authorities, 0o644, roots()}}, files...)
	}
	for _, f := range files {
		layer, err := f.layer()
		if err != nil {
			return nil, platform, err
		}
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "add " + f.path}})
		if err != nil {
			return nil, platform, err
		}
	}
	return mutate.Annotations(image, labels).(v1.Image), platform, nil
}

// labels returns the annotations that the OCI image specification defines. It
// omits created and revision, which would change the digest at each build.
func (d description) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         d.name,
		"org.opencontainers.image.description":   d.summary,
		"org.opencontainers.image.version":       d.version,
		"org.opencontainers.image.licenses":      "MPL-2.0",
		"org.opencontainers.image.source":        source,
		"org.opencontainers.image.documentation": source + "/blob/main/" + d.readme,
	}
}

// platformOf reads the platform from a program's build information.
func platformOf(program string) (v1.Platform, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("%w (make build makes it)", err)
	}
	var platform v1.Platform
	for _, setting := range info.Settings {
		switch setting.Key {
		case "GOOS":
			platform.OS = setting.Value
		case "GOARCH":
			platform.Architecture = setting.Value
		case "CGO_ENABLED":
			if setting.Value != "0" {
				return platform, fmt.Errorf("%s was built with CGO_ENABLED=%s, and the image has no C library", program, setting.Value)
			}
		}
	}
	return platform, nil
}

// roots returns Mozilla's list of public authorities as PEM. It omits authorities
// that are trusted only for certificates issued before some date, since PEM cannot
// express that.
func roots() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // bytes.Buffer never fails
		}
	}
	return text.Bytes()
}

// file is the only regular file of a layer.
type file struct {
	path string
	mode int64
	text []byte
}

// layer contains the file and its parent directories, owned by root, without times.
func (f file) layer() (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	name := strings.TrimPrefix(f.path, "/")
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[:i+1], Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.mode, Size: int64(len(f.text))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(f.text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

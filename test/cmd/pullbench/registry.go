package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// served is a registry with the image.
type served struct {
	*httptest.Server
	reference string
}

func serve(layers int, layerBytes int64) (served, error) {
	img, err := madeOfHost(layers, layerBytes)
	if err != nil {
		return served{}, err
	}
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	made := served{s, strings.TrimPrefix(s.URL, "http://") + "/bench:1"}
	ref, err := name.ParseReference(made.reference)
	if err != nil {
		return served{}, err
	}
	return made, remote.Write(ref, img)
}

// madeOfHost returns an image of the host's files: libraries, texts, sources and programs.
func madeOfHost(layers int, layerBytes int64) (v1.Image, error) {
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux", RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	next := hostFiles()
	for i := range layers {
		content, err := layerOf(next, i, layerBytes)
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// hostFiles returns a function that returns the path of the next regular file, "" after the last.
func hostFiles() func() string {
	var all []string
	for _, dir := range []string{"/usr/lib", "/usr/share", "/usr/bin"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				all = append(all, path)
			}
			return nil
		})
	}
	return func() (path string) {
		if len(all) > 0 {
			path, all = all[0], all[1:]
		}
		return path
	}
}

func layerOf(next func() string, number int, layerBytes int64) ([]byte, error) {
	var content bytes.Buffer
	packed := gzip.NewWriter(&content)
	w := tar.NewWriter(packed)
	for total := int64(0); total < layerBytes; {
		path := next()
		if path == "" {
			return nil, errors.New("the host has too few files: use fewer layers, or smaller ones")
		}
		file, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		header := &tar.Header{Name: fmt.Sprintf("layer%d%s", number, path), Mode: 0o644, Size: int64(len(file))}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(file); err != nil {
			return nil, err
		}
		total += int64(len(file))
	}
	if err := errors.Join(w.Close(), packed.Close()); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

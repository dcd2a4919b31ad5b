package main

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeArchive writes an OCI layout with one index, of the images of the programs in
// bins, as a tar file to path. "skopeo copy --all oci-archive:PATH" pushes all of them.
func writeArchive(path string, about description, bins ...string) (v1.Hash, error) {
	index, err := platforms(about, bins)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return v1.Hash{}, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "."+about.name+"-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(dir)
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	err = at.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": about.tag(),
	}))
	if err != nil {
		return v1.Hash{}, err
	}
	fresh := dir + ".tar"
	if err := errors.Join(tarOf(dir, fresh), os.Rename(fresh, path)); err != nil {
		return v1.Hash{}, errors.Join(err, os.Remove(fresh))
	}
	return index.Digest()
}

// platforms returns an index of the image for each directory of programs.
func platforms(about description, bins []string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, bin := range bins {
		image, platform, err := build(about, filepath.Join(bin, about.name))
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &platform},
		})
	}
	return mutate.Annotations(index, about.labels()).(v1.ImageIndex), nil
}

// tarOf writes the files of a layout in lexical order, owned by root, without times.
func tarOf(dir, path string) error {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer to.Close()
	w := tar.NewWriter(to)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	return errors.Join(err, w.Close(), to.Close())
}

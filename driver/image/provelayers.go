package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// proveLayers downloads the layers that the store would otherwise reuse from images of other
// registries by digest alone: a manifest can name a layer that its author never had. Layers from
// images of the same registry are reused, because that registry serves the manifest, and layers of
// additional stores are reused, because every job may read them.
func (s *Store) proveLayers(ctx context.Context, key flightKey, source types.ImageSource, layers []types.BlobInfo, alive func()) error {
	var own map[string]bool
	for _, layer := range layers {
		found, err := s.layersOf(layer)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue // it will be fetched
		}
		if own == nil {
			if own, err = s.layersFrom(key.ref); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(found, func(l storage.Layer) bool { return l.ReadOnly || own[l.ID] }) {
			continue
		}
		if err := readLayer(ctx, source, layer, alive); err != nil {
			return err
		}
	}
	return nil
}

// layersOf returns the stored layers with a blob's content.
func (s *Store) layersOf(blob types.BlobInfo) ([]storage.Layer, error) {
	if err := blob.Digest.Validate(); err != nil {
		return nil, invalid("a digest is malformed")
	}
	packed, err := s.store.LayersByCompressedDigest(blob.Digest)
	if err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return nil, err
	}
	plain, err := s.store.LayersByUncompressedDigest(blob.Digest)
	if err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return nil, err
	}
	return append(packed, plain...), nil
}

// layersFrom returns the layers of the images that came from a reference's registry.
func (s *Store) layersFrom(ref Reference) (map[string]bool, error) {
	own := map[string]bool{}
	if ref.path != "" {
		return own, nil
	}
	images, err := s.store.Images()
	if err != nil {
		return nil, err
	}
	origin := s.origin(ref)
	for _, img := range images {
		list, err := s.accesses(img.ID)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, origin) {
			continue
		}
		for id := img.TopLayer; id != "" && !own[id]; {
			own[id] = true
			layer, err := s.store.Layer(id)
			if err != nil {
				break // the image is being removed
			}
			id = layer.Parent
		}
	}
	return own, nil
}

// readLayer downloads a layer and verifies its digest.
func readLayer(ctx context.Context, source types.ImageSource, layer types.BlobInfo, alive func()) error {
	blob, _, err := source.GetBlob(ctx, layer, none.NoCache)
	if err != nil {
		return err
	}
	defer blob.Close()
	sum := layer.Digest.Verifier()
	n, err := io.Copy(sum, io.LimitReader(&lively{&checkedReader{ctx: ctx, from: blob}, alive}, max(layer.Size, 0)+1))
	switch {
	case err != nil:
		return err
	case n > layer.Size:
		return fmt.Errorf("%w: layer %s has %d bytes", errTooMuch, layer.Digest, layer.Size)
	case !sum.Verified():
		return invalid("the content of blob %s does not have this digest", layer.Digest)
	}
	return nil
}

// lively is a reader that calls alive whenever data arrives.
type lively struct {
	io.Reader
	alive func()
}

func (l *lively) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.alive()
	}
	return n, err
}

package image

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	cimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// maxIndexes limits the indexes on the way to an image. Tools nest two.
const maxIndexes = 4

// choice is the image of a source that matches the platform.
type choice struct {
	image   *cimage.UnparsedImage
	digest  digest.Digest // of its manifest; "" if the source has no index
	indexes int           // on the way from the source to the image
}

// choose returns the source's only image, or the one that its indexes name for the platform.
func choose(ctx context.Context, key flightKey, source types.ImageSource, sys *types.SystemContext) (choice, error) {
	c := choice{image: cimage.UnparsedInstance(source, nil)}
	for {
		blob, mime, err := c.image.Manifest(ctx)
		if err != nil || !manifest.MIMETypeIsMultiImage(mime) {
			return c, err
		}
		if c.indexes++; c.indexes > maxIndexes {
			return c, invalid("more than %d image indexes are nested in it", maxIndexes)
		}
		list, err := manifest.ListFromBlob(blob, mime)
		if err != nil {
			return c, invalid("its image index is damaged")
		}
		if err := key.platform.chooses(key.ref, list, sys); err != nil {
			return c, err
		}
		if c.digest, err = list.ChooseInstance(sys); err != nil {
			return c, err
		}
		c.image = cimage.UnparsedInstance(source, &c.digest)
	}
}

// flatten makes an image in nested indexes the only one of src, since the library follows one
// index at most. It returns the name under which the store accepts it: a name with a digest must
// have the digest of the manifest that is copied.
func (c choice) flatten(src *openedSource, name string) (string, error) {
	if c.indexes < 2 {
		return name, nil
	}
	flat := &flatSource{ImageSource: src.source, ref: src.source.Reference(), digest: c.digest}
	if named, ok := flat.ref.DockerReference().(reference.Canonical); ok {
		leaf, err := reference.WithDigest(reference.TrimNamed(named), c.digest)
		if err != nil {
			return "", fmt.Errorf("name image %q in the store: %w", name, err)
		}
		if flat.ref, err = docker.NewReference(leaf); err != nil {
			return "", fmt.Errorf("name image %q in the store: %w", name, err)
		}
		name = leaf.String()
	}
	src.source = flat
	return name, nil
}

// flatSource presents one image of a source as its only one.
type flatSource struct {
	types.ImageSource
	ref    types.ImageReference
	digest digest.Digest
}

func (f *flatSource) Reference() types.ImageReference { return f.ref }

// GetManifest returns the image's manifest.
func (f *flatSource) GetManifest(ctx context.Context, _ *digest.Digest) ([]byte, string, error) {
	return f.ImageSource.GetManifest(ctx, &f.digest)
}

// GetSignatures returns the image's signatures.
func (f *flatSource) GetSignatures(ctx context.Context, _ *digest.Digest) ([][]byte, error) {
	return f.ImageSource.GetSignatures(ctx, &f.digest)
}

// LayerInfosForCopy returns the layers that replace the manifest's layers, if any.
func (f *flatSource) LayerInfosForCopy(ctx context.Context, _ *digest.Digest) ([]types.BlobInfo, error) {
	return f.ImageSource.LayerInfosForCopy(ctx, &f.digest)
}

package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxManifestBytes = 4 << 20 // the limit of common registries
	maxLayers        = 16
)

// oci reads the layers of an artifact of any type; files of later layers replace files
// of earlier ones.
func (f *fetcher) oci(ctx context.Context) (Files, string, error) {
	repository, err := connect(ctx, f.address.image)
	if err != nil {
		return nil, "", err
	}
	layers, origin, err := f.layers(ctx, repository)
	if err != nil {
		return nil, "", err
	}
	p := f.picker()
	left := int64(maxDownloadBytes)
	for _, layer := range layers {
		if left -= layer.Size; left < 0 {
			return nil, "", fmt.Errorf("%w: more than %d bytes", errTooBig, maxDownloadBytes)
		}
		if err := f.layer(ctx, repository, layer, p); err != nil {
			return nil, "", fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
	}
	files, err := p.picked()
	return files, origin, err
}

// layers returns the layers and the digest of the pinned manifest, or else of the one
// that the address names.
func (f *fetcher) layers(ctx context.Context, r *registryClient) ([]v1.Descriptor, string, error) {
	if f.pinned == "" {
		return r.layers(ctx, f.address.version)
	}
	if _, err := digest.Parse(f.pinned); err != nil {
		return nil, "", fmt.Errorf("the locked manifest is %q: %w", f.pinned, err)
	}
	layers, origin, err := r.layers(ctx, f.pinned)
	if errors.Is(err, errNotFound) {
		return r.layers(ctx, f.address.version)
	}
	return layers, origin, err
}

// layer reads a layer and verifies its digest and size.
func (f *fetcher) layer(ctx context.Context, r *registryClient, layer v1.Descriptor, p *picker) error {
	read := p.untar
	switch {
	case strings.HasSuffix(layer.MediaType, "tar+gzip"), strings.HasSuffix(layer.MediaType, "tar.gzip"):
		read = p.untargz
	case strings.HasSuffix(layer.MediaType, "tar"):
	default:
		return fmt.Errorf("its type is %q: push a folder, which becomes a tar+gzip layer", layer.MediaType)
	}
	if err := layer.Digest.Validate(); err != nil {
		return err
	}
	body, err := r.get(ctx, "blobs", layer.Digest.String(), layer.MediaType)
	if err != nil {
		return err
	}
	defer body.Close()
	verifier := layer.Digest.Verifier()
	blob := &counted{r: body, left: layer.Size, total: layer.Size, tell: f.tell}
	all := io.TeeReader(blob, verifier)
	if err := read(all); err != nil {
		return err
	}
	// The digest covers the bytes after the end of the archive too.
	if _, err := io.Copy(io.Discard, all); err != nil {
		return err
	}
	if blob.left != 0 || !verifier.Verified() {
		return errDigest
	}
	return nil
}

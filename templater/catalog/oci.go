package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

const (
	maxManifestBytes = 4 << 20 // the limit of common registries
	maxLayers        = 16
)

// oci reads the layers of an artifact of any type; files of later layers replace files
// of earlier ones.
func (f *fetcher) oci(ctx context.Context) (Files, string, error) {
	repository, err := f.repository()
	if err != nil {
		return nil, "", err
	}
	manifest, err := f.resolve(ctx, repository)
	if err != nil {
		return nil, "", err
	}
	layers, err := layersOf(ctx, repository, manifest)
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
	return files, manifest.Digest.String(), err
}

// repository returns the repository of the address, with the credentials of docker login.
func (f *fetcher) repository() (*remote.Repository, error) {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the credentials of registries: %w", err)
	}
	repository := &remote.Repository{Reference: f.address.image}
	repository.Client = &auth.Client{Client: client(), Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	return repository, nil
}

// resolve returns the pinned manifest, or else the one that the address names.
func (f *fetcher) resolve(ctx context.Context, repository *remote.Repository) (v1.Descriptor, error) {
	reference := f.address.image.Reference
	if f.pinned != "" {
		reference = f.pinned
	}
	manifest, err := repository.Resolve(ctx, reference)
	if errors.Is(err, http.ErrSchemeMismatch) && loopback(hostname(f.address.image.Registry)) {
		repository.PlainHTTP = true
		manifest, err = repository.Resolve(ctx, reference)
	}
	if errors.Is(err, errdef.ErrNotFound) && f.pinned != "" {
		return repository.Resolve(ctx, f.address.image.Reference)
	}
	return manifest, err
}

func hostname(registry string) string {
	if i := strings.LastIndex(registry, ":"); i >= 0 {
		registry = registry[:i]
	}
	return strings.Trim(registry, "[]")
}

func layersOf(ctx context.Context, repository *remote.Repository, at v1.Descriptor) ([]v1.Descriptor, error) {
	if at.MediaType == v1.MediaTypeImageIndex || strings.Contains(at.MediaType, "manifest.list") {
		return nil, fmt.Errorf("it is an index of several artifacts: pass the digest of one, oci://REGISTRY/REPO@sha256:…")
	}
	if at.Size > maxManifestBytes {
		return nil, fmt.Errorf("the manifest has %d bytes; at most %d are read", at.Size, maxManifestBytes)
	}
	text, err := content.FetchAll(ctx, repository, at)
	if err != nil {
		return nil, err
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", at.Digest, err)
	}
	if len(manifest.Layers) == 0 || len(manifest.Layers) > maxLayers {
		return nil, fmt.Errorf("it has %d layers: a catalog has 1 to %d", len(manifest.Layers), maxLayers)
	}
	return manifest.Layers, nil
}

// layer reads a layer and verifies its digest and size.
func (f *fetcher) layer(ctx context.Context, repository *remote.Repository, layer v1.Descriptor, p *picker) error {
	var read func(*picker, *content.VerifyReader) error
	switch {
	case strings.HasSuffix(layer.MediaType, "tar+gzip"), strings.HasSuffix(layer.MediaType, "tar.gzip"):
		read = func(p *picker, r *content.VerifyReader) error { return p.untargz(r) }
	case strings.HasSuffix(layer.MediaType, "tar"):
		read = func(p *picker, r *content.VerifyReader) error { return p.untar(r) }
	default:
		return fmt.Errorf("its type is %q: push a folder, which becomes a tar+gzip layer", layer.MediaType)
	}
	body, err := repository.Fetch(ctx, layer)
	if err != nil {
		return err
	}
	defer body.Close()
	r := content.NewVerifyReader(&counted{r: body, left: layer.Size, total: layer.Size, tell: f.tell}, layer)
	if err := read(p, r); err != nil {
		return err
	}
	return drain(r)
}

// drain reads past the end of the archive, since the digest covers all bytes.
func drain(r *content.VerifyReader) error {
	buffer := make([]byte, 32<<10)
	for {
		if _, err := r.Read(buffer); err != nil {
			return r.Verify()
		}
	}
}

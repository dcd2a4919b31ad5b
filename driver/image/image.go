package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/storage"
)

// Image is an image in the store.
type Image struct {
	ID     string      // id in the store: 64 hex digits
	Digest string      // digest of the manifest for the chosen platform, "sha256:…"
	Config ImageConfig // defaults for a container's process
}

// ImageConfig is the image's configuration for its process. The OCI image-spec defines the fields
// in config.md.
type ImageConfig struct {
	Entrypoint, Cmd []string
	Env             []string // NAME=value
	User            string   // user[:group], names or numbers
	WorkingDir      string
	StopSignal      string
	Volumes         []string // paths, sorted
	Labels          map[string]string
}

// stored reads an image from the store. If a crash left it without a manifest or config, stored
// returns ErrNotFound, so that it is fetched again.
func (s *Store) stored(img *storage.Image) (Image, platform, error) {
	blob, err := s.store.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return Image{}, platform{}, incomplete(img.ID, "manifest", err)
	}
	man, err := manifest.FromBlob(blob, manifest.GuessMIMEType(blob))
	if err != nil {
		return Image{}, platform{}, fmt.Errorf("%w: manifest of image %s: %w", ErrInvalidImage, img.ID, err)
	}
	digest, err := manifest.Digest(blob)
	if err != nil {
		return Image{}, platform{}, fmt.Errorf("digest of the manifest of image %s: %w", img.ID, err)
	}
	if man.ConfigInfo().Digest == "" {
		return Image{}, platform{}, fmt.Errorf("%w: image %s has no config (schema 1 manifest); rebuild and push it",
			ErrInvalidImage, img.ID)
	}
	raw, err := s.store.ImageBigData(img.ID, man.ConfigInfo().Digest.String())
	if err != nil {
		return Image{}, platform{}, incomplete(img.ID, "config", err)
	}
	var config imgspecv1.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return Image{}, platform{}, fmt.Errorf("%w: config of image %s: %w", ErrInvalidImage, img.ID, err)
	}
	return Image{
		ID:     img.ID,
		Digest: digest.String(),
		Config: ImageConfig{
			Entrypoint: config.Config.Entrypoint,
			Cmd:        config.Config.Cmd,
			Env:        config.Config.Env,
			User:       config.Config.User,
			WorkingDir: config.Config.WorkingDir,
			StopSignal: config.Config.StopSignal,
			Volumes:    slices.Sorted(maps.Keys(config.Config.Volumes)),
			Labels:     config.Config.Labels,
		},
	}, platform{config.OS, config.Architecture, config.Variant}, nil
}

func incomplete(id, part string, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, storage.ErrImageUnknown) {
		return fmt.Errorf("%w: the store has no %s of image %s: %w", ErrNotFound, part, id, err)
	}
	return fmt.Errorf("%s of image %s: %w", part, id, err)
}

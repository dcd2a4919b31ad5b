package image

import (
	"errors"

	"go.podman.io/image/v5/types"
)

// errURLs is about layers that the client would fetch from wherever the image's
// author says: the host's cloud metadata, for example.
var errURLs = errors.New("a layer is to be fetched from other addresses (urls), which is not allowed; " +
	"rebuild the image with its layers in the registry")

// checkBlobs refuses what no image may ask for. The infos are those by which
// image/v5 fetches.
func checkBlobs(config types.BlobInfo, layers []types.BlobInfo) error {
	if config.Digest == "" {
		return invalid("it has no config (schema 1 manifest); build and push it anew")
	}
	if len(layers) > maxLayers {
		return invalid("it has %d layers, more than the %d allowed", len(layers), maxLayers)
	}
	for _, blob := range append([]types.BlobInfo{config}, layers...) {
		if len(blob.URLs) > 0 {
			return errURLs
		}
	}
	return nil
}

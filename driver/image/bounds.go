package image

import (
	"errors"

	"go.podman.io/image/v5/types"
)

// errURLs reports layers with URLs. The client would fetch them from any address the image's
// author chose, such as the host's cloud metadata service.
var errURLs = errors.New("a layer must be fetched from other addresses (urls), which is not allowed; " +
	"rebuild the image with its layers in the registry")

// checkBlobs rejects layers and configs that no image may have. It checks the same BlobInfos
// that image/v5 fetches.
func checkBlobs(config types.BlobInfo, layers []types.BlobInfo) error {
	if config.Digest == "" {
		return invalid("it has no config (schema 1 manifest); rebuild and push it")
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

// checkDiffIDs requires a digest of the content of each layer. Without one, image/v5 does
// not verify the content.
func checkDiffIDs(diffIDs, layers int) error {
	if diffIDs == layers {
		return nil
	}
	return invalid("it has %d layers, but its config lists %d of them in rootfs.diff_ids; rebuild the image", layers, diffIDs)
}

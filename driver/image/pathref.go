package image

import (
	"context"
	"errors"
	"path/filepath"

	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"
)

// pathReference is a located reference for image/v5, for example for the signature policy. The
// library receives bytes from files and never opens the path.
type pathReference struct {
	Reference
	tmpDir string // for unpacked archives
}

// Transport returns the library's transport. The signature policy refers to it by name.
func (r pathReference) Transport() types.ImageTransport {
	switch r.transport {
	case transportOCI:
		return ocilayout.Transport
	case transportOCIArchive:
		return ociarchive.Transport
	default:
		return dockerarchive.Transport
	}
}

// StringWithinTransport returns the path and the tag.
func (r pathReference) StringWithinTransport() string {
	if r.tag == "" {
		return r.path
	}
	return r.path + ":" + r.tag
}

// DockerReference returns nil: an image at a path has no name.
func (pathReference) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity returns the same value as the library's transports.
func (r pathReference) PolicyConfigurationIdentity() string {
	if r.transport == transportDockerArchive {
		return ""
	}
	return r.path + ":" + r.tag
}

// PolicyConfigurationNamespaces returns the path and its parent directories.
func (r pathReference) PolicyConfigurationNamespaces() []string {
	var list []string
	if r.transport == transportDockerArchive {
		return list
	}
	for dir := r.path; dir != "/"; dir = filepath.Dir(dir) {
		list = append(list, dir)
	}
	return list
}

// NewImage is not used.
func (pathReference) NewImage(context.Context, *types.SystemContext) (types.ImageCloser, error) {
	return nil, errors.ErrUnsupported
}

// NewImageSource opens the image.
func (r pathReference) NewImageSource(ctx context.Context, _ *types.SystemContext) (types.ImageSource, error) {
	return openPathSource(ctx, r)
}

// NewImageDestination is not used: images are never written to a path.
func (pathReference) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errors.ErrUnsupported
}

// DeleteImage is not used.
func (pathReference) DeleteImage(context.Context, *types.SystemContext) error {
	return errors.ErrUnsupported
}

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// maxSmallBytes is the manifest size that registries commonly allow (OCI distribution-spec,
// "Pushing Manifests"); image/v5 allows the same for a config.
const maxSmallBytes = 4 << 20

// layout reads an image in an OCI layout (OCI image-spec, image-layout.md).
type layout struct {
	pathSource
	top   imgspecv1.Descriptor
	index imgspecv1.Index
}

// newLayout selects the image with the reference's tag, or the only one.
func newLayout(ctx context.Context, from files, ref pathReference) (*layout, error) {
	body, err := readSmall(ctx, from, imgspecv1.ImageIndexFile, maxSmallBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoLayout
	}
	if err != nil {
		return nil, err
	}
	l := &layout{pathSource: pathSource{ref, from}}
	if err := json.Unmarshal(body, &l.index); err != nil {
		return nil, invalid("%s is not valid JSON", imgspecv1.ImageIndexFile)
	}
	l.top, err = chooseTag(ref.Reference, l.index.Manifests)
	return l, err
}

func chooseTag(ref Reference, list []imgspecv1.Descriptor) (imgspecv1.Descriptor, error) {
	if ref.tag == "" {
		switch len(list) {
		case 0:
			return imgspecv1.Descriptor{}, invalid("the layout has no image")
		case 1:
			return list[0], nil
		}
		return imgspecv1.Descriptor{}, &plainError{ErrInvalidReference,
			fmt.Sprintf("it holds %d images; write the tag of one after the path, as in %s:TAG", len(list), ref)}
	}
	for _, d := range list {
		if d.Annotations[imgspecv1.AnnotationRefName] == ref.tag {
			return d, nil
		}
	}
	return imgspecv1.Descriptor{}, &plainError{ErrNotFound, "it has no image with this tag; check the tag after the path"}
}

// blobName returns the path of a blob in a layout.
func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil { // also keeps ".." out
		return "", invalid("a digest is malformed")
	}
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

// GetManifest returns the selected manifest or index, or one listed in an index.
func (l *layout) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	d := l.top
	if instance != nil {
		d = imgspecv1.Descriptor{Digest: *instance}
	}
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, "", err
	}
	body, err := readSmall(ctx, l.files, name, maxSmallBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", invalid("blob %s is missing", d.Digest)
	}
	if err != nil {
		return nil, "", err
	}
	if d.Digest.Algorithm().FromBytes(body) != d.Digest {
		return nil, "", invalid("the content of blob %s does not have this digest", d.Digest)
	}
	if d.MediaType == "" {
		d.MediaType = manifest.GuessMIMEType(body)
	}
	return body, d.MediaType, nil
}

// GetBlob opens a layer or the config.
func (l *layout) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if len(info.URLs) != 0 {
		return nil, 0, errURLs
	}
	name, err := blobName(info.Digest)
	if err != nil {
		return nil, 0, err
	}
	blob, size, err := openBlob(ctx, l.files, name, info.Digest, info.Size)
	if errors.Is(err, os.ErrNotExist) {
		err = invalid("blob %s is missing", info.Digest)
	}
	return blob, size, err
}

// pathSource implements the parts that all readers of images at a path share.
type pathSource struct {
	ref   pathReference
	files files
}

func (s *pathSource) Reference() types.ImageReference { return s.ref }
func (s *pathSource) Close() error                    { return s.files.Close() }
func (*pathSource) HasThreadSafeGetBlob() bool        { return true }

func (*pathSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

func (*pathSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

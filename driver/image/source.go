package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"go.podman.io/image/v5/types"
)

// localRepository holds the names of images that came from a path. Their tag is
// <path>-<content>, two hashes, so that a look-up by name misses when the
// content changed. Images of earlier content age until GC removes them.
const localRepository = "localhost/pod-image/"

// maxIndexBytes is the size registries commonly allow a manifest to have (OCI
// distribution-spec, "Pushing Manifests").
const maxIndexBytes = 4 << 20

// storeName is the name under which the store keeps the image that is at ref
// now. It fails with ErrNotFound if there is nothing at a path.
func (r Reference) storeName() (string, error) {
	if r.transport == transportDocker {
		return r.name, nil
	}
	content, err := r.fingerprint()
	if err != nil {
		return "", err
	}
	return localRepository + r.transport + ":" + shortHash([]byte(r.path+"\x00"+r.tag)) + "-" + shortHash(content), nil
}

// fingerprint changes when the image at a path changes. Layouts name their
// content by digest, so the file that lists it is enough; an archive is too big
// to read for this, so its inode, size and times stand for it, as in make(1).
func (r Reference) fingerprint() ([]byte, error) {
	var index string
	switch r.transport {
	case transportOCI:
		index = "index.json"
	case transportDir:
		index = "manifest.json"
	default:
		return r.archiveFingerprint()
	}
	if _, err := os.Stat(r.path); err != nil {
		return nil, r.absent(err, "put the image there or correct the path")
	}
	file := filepath.Join(r.path, index)
	info, err := os.Stat(file)
	if err != nil {
		return nil, r.absent(err, fmt.Sprintf("%s: wants a directory with a file %s", r.transport, index))
	}
	// The path may be one that a task can write: no pipes, nothing endless.
	if !info.Mode().IsRegular() || info.Size() > maxIndexBytes {
		return nil, fmt.Errorf("%w: image %q: %s is not a regular file of at most %d bytes: make the image anew",
			ErrInvalidImage, r, file, maxIndexBytes)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", r, err)
	}
	return content, nil
}

func (r Reference) archiveFingerprint() ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Stat(r.path, &st); err != nil {
		return nil, r.absent(&os.PathError{Op: "stat", Path: r.path, Err: err}, "put the archive there or correct the path")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%w: image %q: %s is not a regular file: for a directory use oci:PATH or dir:PATH",
			ErrInvalidImage, r, r.path)
	}
	return fmt.Appendf(nil, "%d %d %d %v %v", st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim), nil
}

func (r Reference) absent(err error, mend string) error {
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("image %q: %w", r, err)
	}
	return fmt.Errorf("%w: image %q: %w: %s", ErrNotFound, r, err, mend)
}

func shortHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// openedSource hands an already opened source to copy.Image, so that what was
// checked is what is copied, and the manifest is fetched once.
type openedSource struct {
	types.ImageReference
	source types.ImageSource
	taken  bool
}

// NewImageSource gives the source away; the caller closes it.
func (o *openedSource) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	if o.taken {
		return nil, errors.New("source was already taken")
	}
	o.taken = true
	return o.source, nil
}

// close closes the source unless it was given away.
func (o *openedSource) close() error {
	if o.taken {
		return nil
	}
	o.taken = true
	return o.source.Close()
}

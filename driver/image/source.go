package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"
	"golang.org/x/sys/unix"
)

// localRepository contains the names of images from a path. Their tag is <path>-<content>, two
// hashes, so that a lookup by name misses if the content changed. Images of earlier content stay
// until GC removes them.
const localRepository = "localhost/pod-image/"

// storeName returns the store's name for the current image at ref. It returns ErrNotFound if the
// path does not exist.
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

// fingerprint returns bytes that change when the image at a path changes. A layout names its
// content by digest, so its index is sufficient; an archive is too large to read for this, so its
// inode, size and times are used, as in make(1).
func (r Reference) fingerprint() ([]byte, error) {
	f, err := r.openAnchored()
	if err != nil {
		return nil, r.explainPath(err)
	}
	defer f.Close()
	if r.transport == transportOCI {
		content, err := readSmall(context.Background(), dirFiles{f}, imgspecv1.ImageIndexFile, maxSmallBytes)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			err = errNoLayout
		}
		return content, r.explainPath(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, r.explainPath(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, r.explainPath(invalid("it is not a regular file; for a directory use oci:PATH"))
	}
	return fmt.Appendf(nil, "%d %d %d %v %v", st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim), nil
}

// errNoLayout reports that a directory is not an OCI layout.
var errNoLayout = &plainError{ErrNotFound, "it is not an OCI layout: oci: names a directory with a file " + imgspecv1.ImageIndexFile}

// openPathSource opens an image at a path. It reads only through descriptors opened below the
// directory that the reference is bound to.
func openPathSource(ctx context.Context, ref pathReference) (types.ImageSource, error) {
	f, err := ref.openAnchored()
	if err != nil {
		return nil, err
	}
	from, err := filesOf(ctx, f, ref)
	if err != nil {
		return nil, err
	}
	var source types.ImageSource
	if ref.transport == transportDockerArchive {
		source, err = newDockerArchive(ctx, from, ref)
	} else {
		source, err = newLayout(ctx, from, ref)
	}
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return source, nil
}

// filesOf returns the files of f. It takes ownership of f.
func filesOf(ctx context.Context, f *os.File, ref pathReference) (files, error) {
	if ref.transport == transportOCI {
		return dirFiles{f}, nil
	}
	defer f.Close()
	archive, size, err := reopenRegular(f)
	if err != nil {
		return nil, err
	}
	return openTar(ctx, archive, size, ref.tmpDir)
}

func shortHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// openedSource passes an already opened source to copy.Image, so that the checked source is the
// copied one, and the manifest is fetched once.
type openedSource struct {
	types.ImageReference
	source types.ImageSource
	taken  bool
}

// NewImageSource returns the source and its ownership; the caller closes it.
func (o *openedSource) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	if o.taken {
		return nil, errors.New("source already taken")
	}
	o.taken = true
	return o.source, nil
}

// close closes the source unless NewImageSource returned it.
func (o *openedSource) close() error {
	if o.taken {
		return nil
	}
	o.taken = true
	return o.source.Close()
}

package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxArchiveEntries = 10000

	// A gzipped archive is unpacked to an unnamed file, which the kernel deletes when the
	// descriptor is closed.
	freeUnpacked   = 1 << 30 // bytes that any archive may unpack to
	unpackedFactor = 50      // larger archives: this many times their own size
)

// tarFiles provides the regular files of an archive without extracting it. Names are only
// compared.
type tarFiles struct {
	archive *os.File
	entries map[string]tarEntry
}

type tarEntry struct {
	offset, size int64
	link         string // name of the entry linked to; a link has no content
}

// openTar indexes an archive. A compressed one is unpacked to tmpDir.
func openTar(ctx context.Context, f *os.File, size int64, tmpDir string) (*tarFiles, error) {
	f, size, err := unpacked(ctx, f, size, tmpDir)
	if err != nil {
		return nil, err
	}
	t := &tarFiles{archive: f, entries: map[string]tarEntry{}}
	if err := t.index(ctx, size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

func (t *tarFiles) Close() error { return t.archive.Close() }

func (t *tarFiles) index(ctx context.Context, size int64) error {
	body := io.NewSectionReader(t.archive, 0, size)
	in := tar.NewReader(body)
	for count := 0; ; count++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) && count > 0 {
			return nil
		}
		if err != nil {
			return invalid("it is not a complete tar archive")
		}
		if count >= maxArchiveEntries {
			return invalid("the archive has more than %d entries", maxArchiveEntries)
		}
		offset, err := body.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := t.add(h, offset, size); err != nil {
			return err
		}
	}
}

// add indexes an entry that can be part of an image. It ignores all others, such as devices
// and names that lead out of the archive.
func (t *tarFiles) add(h *tar.Header, offset, size int64) error {
	name := path.Clean(h.Name)
	if !fs.ValidPath(name) {
		return nil
	}
	e := tarEntry{offset: offset, size: h.Size}
	switch h.Typeflag {
	case tar.TypeReg:
		if isSparse(h) {
			return invalid("the archive has a sparse file; make it without --sparse")
		}
		if h.Size > size-offset {
			return invalid("it is not a complete tar archive")
		}
	case tar.TypeSymlink: // docker save writes a repeated layer as a symlink
		e = tarEntry{link: path.Join(path.Dir(name), h.Linkname)}
	case tar.TypeLink:
		e = tarEntry{link: path.Clean(h.Linkname)}
	case tar.TypeGNUSparse:
		return invalid("the archive has a sparse file; make it without --sparse")
	default:
		return nil
	}
	if e.link != "" && (path.IsAbs(h.Linkname) || !fs.ValidPath(e.link)) {
		return nil
	}
	if _, twice := t.entries[name]; twice {
		return invalid("the archive has two entries of the same name")
	}
	t.entries[name] = e
	return nil
}

func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// open opens a file and follows one link within the archive.
func (t *tarFiles) open(name string) (*section, error) {
	e, ok := t.entries[path.Clean(name)]
	if ok && e.link != "" {
		e, ok = t.entries[e.link]
		ok = ok && e.link == ""
	}
	if !ok {
		return nil, &os.PathError{Op: "open", Path: t.archive.Name(), Err: os.ErrNotExist}
	}
	return &section{ReaderAt: io.NewSectionReader(t.archive, e.offset, e.size), size: e.size}, nil
}

// unpacked returns the decompressed archive. It takes ownership of f.
func unpacked(ctx context.Context, f *os.File, size int64, tmpDir string) (*os.File, int64, error) {
	magic := make([]byte, 2)
	if _, err := f.ReadAt(magic, 0); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return f, size, nil // too short, or not tar; index reports it
	}
	defer f.Close()
	in, err := gzip.NewReader(&checkedReader{ctx: ctx, from: io.NewSectionReader(f, 0, size)})
	if err != nil {
		return nil, 0, invalid("its compression is damaged")
	}
	fd, err := unix.Open(tmpDir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, 0, &os.PathError{Op: "make temporary file", Path: tmpDir, Err: err}
	}
	out := os.NewFile(uintptr(fd), f.Name())
	limit := max(freeUnpacked, size*unpackedFactor)
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	var host *os.PathError // an error of writing
	switch {
	case n > limit:
		err = invalid("it unpacks to more than %d bytes", limit)
	case err != nil && ctx.Err() == nil && !errors.As(err, &host):
		err = invalid("its compression is damaged")
	}
	if err != nil {
		return nil, 0, errors.Join(err, out.Close())
	}
	return out, n, nil
}

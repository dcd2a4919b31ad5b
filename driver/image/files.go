package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// plainError is an error about an image. Its text contains the reference, digests and fixed words,
// never bytes read from the image, with one exception: if an entry of a layer cannot be unpacked and
// the layer's digest was verified, the text names the entry, escaped and cut to maxReasonBytes.
type plainError struct {
	kind error
	text string
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.kind }

func invalid(format string, args ...any) error {
	return &plainError{ErrInvalidImage, fmt.Sprintf(format, args...)}
}

// files provides the files of an image at a path.
type files interface {
	// open opens a regular file; the name is slash-separated and relative. It returns
	// os.ErrNotExist for an unknown name.
	open(name string) (*section, error)
	io.Closer
}

// section is an open file or a part of it.
type section struct {
	io.ReaderAt
	size   int64
	closer io.Closer // may be nil
}

func (s *section) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// dirFiles provides the files below an open directory. It follows no symbolic links, not even
// in the middle of a path.
type dirFiles struct{ dir *os.File }

func (d dirFiles) Close() error { return d.dir.Close() }

func (d dirFiles) open(name string) (*section, error) {
	f, size, err := openRegular(d.dir, name)
	if err != nil {
		return nil, err
	}
	return &section{f, size, f}, nil
}

// openAnchored opens the path of a located reference with O_PATH.
func (r Reference) openAnchored() (*os.File, error) {
	if r.anchor == "" {
		return nil, fmt.Errorf("%w %q: the path is not bound to an allowed directory", ErrInvalidReference, r)
	}
	name, ok := relativeTo(r.anchor, r.path)
	if !ok {
		return nil, fmt.Errorf("%w %q: the path is outside %s", ErrInvalidReference, r, r.anchor)
	}
	anchor, err := unix.Open(r.anchor, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: r.anchor, Err: err}
	}
	root := os.NewFile(uintptr(anchor), r.anchor)
	if name == "." {
		return root, nil
	}
	defer root.Close()
	return openPath(root, name)
}

// openPath opens name below dir with O_PATH.
func openPath(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch path := filepath.Join(dir.Name(), name); {
	case errors.Is(err, unix.ELOOP):
		return nil, invalid("%s is, or is behind, a symbolic link, which is not followed", path)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	default:
		return os.NewFile(uintptr(fd), path), nil
	}
}

// openRegular opens a regular file for reading. It checks the type first, because opening
// another kind of file may block or have side effects.
func openRegular(dir *os.File, name string) (*os.File, int64, error) {
	f, err := openPath(dir, name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	return reopenRegular(f)
}

func reopenRegular(f *os.File) (*os.File, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, invalid("%s is not a regular file", f.Name())
	}
	self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	fd, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, &os.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), info.Size(), nil
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(ctx context.Context, from files, name string, limit int64) ([]byte, error) {
	s, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.size > limit {
		return nil, invalid("a manifest, index or config has %d bytes, more than the %d allowed", s.size, limit)
	}
	body := make([]byte, s.size)
	if _, err := io.ReadFull(&checkedReader{ctx: ctx, from: io.NewSectionReader(s, 0, s.size)}, body); err != nil {
		return nil, shortRead(err)
	}
	return body, nil
}

func shortRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("a file became shorter while it was read")
	}
	return err
}

// checkedReader is a reader that ends with ctx. If want is set, reading fails at the end of the
// data unless the data has this digest.
type checkedReader struct {
	ctx  context.Context
	from io.Reader
	want digest.Digest
	sum  digest.Verifier
	io.Closer
}

func (s *checkedReader) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.from.Read(p)
	if s.sum == nil {
		return n, err
	}
	_, _ = s.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && !s.sum.Verified() {
		return n, invalid("the content of blob %s does not have this digest", s.want)
	}
	return n, err
}

// openBlob opens a blob. Reading verifies its digest.
func openBlob(ctx context.Context, from files, name string, want digest.Digest, size int64) (io.ReadCloser, int64, error) {
	if err := want.Validate(); err != nil {
		return nil, 0, invalid("a digest is malformed")
	}
	s, err := from.open(name)
	if err != nil {
		return nil, 0, err
	}
	if size >= 0 && s.size != size {
		return nil, 0, errors.Join(invalid("blob %s has %d bytes, not %d", want, s.size, size), s.Close())
	}
	return &checkedReader{ctx: ctx, from: io.NewSectionReader(s, 0, s.size), want: want, sum: want.Verifier(), Closer: s}, s.size, nil
}

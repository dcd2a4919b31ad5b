package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/system"
	"golang.org/x/sys/unix"
)

const (
	xattrRecord   = "SCHILY.xattr."
	overlayXattrs = "trusted.overlay."
	opaqueXattr   = overlayXattrs + "opaque"
)

// rewriter writes a layer in a form that the library can unpack: the target of a hard link that
// only a lower layer has precedes the link, and sparse files are ordinary ones.
type rewriter struct {
	layers layerStore
	parent string // the layer below
	out    *tar.Writer

	written map[string]bool // absolute paths in this layer
	removed map[string]bool // absolute paths that this layer hides, and directories that it empties
}

// rewrite returns the rewritten layer. A read fails with an error that names the path of an entry
// that cannot be stored in any form.
func (s layerStore) rewrite(layer io.Reader, parent string) io.ReadCloser {
	from, to := io.Pipe()
	go func() {
		r := rewriter{layers: s, parent: parent, out: tar.NewWriter(to), written: map[string]bool{}, removed: map[string]bool{}}
		to.CloseWithError(r.run(layer)) // ends with the reader
	}()
	return from
}

func (r *rewriter) run(layer io.Reader) error {
	plain, err := archive.DecompressStream(layer)
	if err != nil {
		return err
	}
	defer plain.Close()
	in := tar.NewReader(plain)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return r.out.Close()
		}
		if err != nil {
			return err
		}
		if err := r.entry(h, in); err != nil {
			return err
		}
	}
}

func (r *rewriter) entry(h *tar.Header, body io.Reader) error {
	name := path.Clean("/" + h.Name)
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeLink:
		if err := r.target(path.Clean("/"+h.Linkname), name); err != nil {
			return err
		}
	case tar.TypeCont, tar.TypeGNUSparse:
		h.Typeflag = tar.TypeReg
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return invalid("%s", printable(fmt.Sprintf("its entry %q has the unknown type %q", name, h.Typeflag)))
	}
	if path.Base(name) == archive.WhiteoutOpaqueDir {
		r.removed[path.Dir(name)] = true
	} else if gone, ok := strings.CutPrefix(path.Base(name), archive.WhiteoutPrefix); ok {
		r.removed[path.Join(path.Dir(name), gone)] = true
	}
	return r.write(h, name, body)
}

func (r *rewriter) write(h *tar.Header, name string, body io.Reader) error {
	h.Format = tar.FormatPAX
	maps.DeleteFunc(h.PAXRecords, func(key, _ string) bool { return !strings.HasPrefix(key, xattrRecord) })
	if err := r.out.WriteHeader(h); err != nil {
		return invalid("%s", printable(fmt.Sprintf("its entry %q has an invalid header", name)))
	}
	r.written[name] = true
	_, err := io.Copy(r.out, body)
	return err
}

// target writes the file that a hard link names, unless the layer has it.
func (r *rewriter) target(target, link string) error {
	if r.written[target] {
		return nil
	}
	at, err := r.lower(target)
	if err != nil {
		return err
	}
	if at == "" {
		return invalid("%s", printable(fmt.Sprintf("its hard link %q names %q, which is in no layer", link, target)))
	}
	h, err := headerOf(at)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return invalid("%s", printable(fmt.Sprintf("its hard link %q names %q, which is not a regular file", link, target)))
	}
	file, err := os.Open(at)
	if err != nil {
		return err
	}
	defer file.Close()
	h.Name = strings.TrimPrefix(target, "/")
	return r.write(h, target, file)
}

// lower returns the path of a file of the lower layers in the store, "" if they have none.
func (r *rewriter) lower(target string) (string, error) {
	for dir := target; dir != "/"; dir = path.Dir(dir) {
		if r.removed[dir] {
			return "", nil
		}
	}
	for id := r.parent; id != ""; {
		at, last, err := find(r.layers.diffDir(id), target)
		if err != nil || last {
			return at, err
		}
		layer, err := r.layers.Layer(id)
		if err != nil {
			return "", err
		}
		id = layer.Parent
	}
	return "", nil
}

// find returns the path of a file in one stored layer, "" if the layer does not have it. last
// reports that the lower layers do not count. Links on the way are not followed.
func find(layer, target string) (at string, last bool, err error) {
	at = layer
	for _, name := range strings.Split(target[1:], "/") {
		if n, err := unix.Lgetxattr(at, opaqueXattr, make([]byte, 1)); err == nil && n > 0 {
			last = true
		}
		if info, err := os.Lstat(at); err != nil || !info.IsDir() {
			return "", true, err
		}
		at = filepath.Join(at, name)
		switch info, err := os.Lstat(at); {
		case errors.Is(err, fs.ErrNotExist):
			return "", last, nil
		case err != nil:
			return "", true, err
		case info.Mode()&fs.ModeCharDevice != 0 && info.Sys().(*syscall.Stat_t).Rdev == 0:
			return "", true, nil // a whiteout
		}
	}
	return at, true, nil
}

// headerOf returns the header of a stored file with its extended attributes.
func headerOf(at string) (*tar.Header, error) {
	info, err := os.Lstat(at)
	if err != nil {
		return nil, err
	}
	h, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return nil, err
	}
	h.Uname, h.Gname, h.PAXRecords = "", "", map[string]string{}
	names, err := system.Llistxattr(at)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, overlayXattrs) {
			continue
		}
		value, err := system.Lgetxattr(at, name)
		if err != nil {
			return nil, err
		}
		h.PAXRecords[xattrRecord+name] = string(value)
	}
	return h, nil
}

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

const (
	// rootPerm is the mode of the root directory of an image if its layers have no entry for it.
	rootPerm = 0o755

	blockBytes = 512 // of a tar archive

	// extendedBytes is less than the length of tar-split's line for an entry with extended
	// attributes, which has at least three blocks.
	extendedBytes = 3 * blockBytes

	// maxEntryBytes limits the description of one entry of a layer.
	maxEntryBytes = 8 << 20
)

// entryPrefix begins the line of an entry's name in tar-split's description.
var entryPrefix = []byte(`{"type":1,`)

// layerStore is the store that a pull adds layers to. It applies the parts of a layer that the
// library ignores, and names the path of an entry that the library cannot unpack.
type layerStore struct {
	storage.Store
	cfg Config
}

// PutLayer stores a layer. If the library cannot unpack it, PutLayer tries the layer in a form
// that it can.
func (s layerStore) PutLayer(id, parent string, names []string, label string, writable bool, o *storage.LayerOptions,
	diff io.Reader,
) (*storage.Layer, int64, error) {
	layer, size, err := s.Store.PutLayer(id, parent, names, label, writable, o, diff)
	if file, ok := diff.(io.ReadSeeker); ok && unpackText.MatchString(errorText(err)) {
		if _, serr := file.Seek(0, io.SeekStart); serr != nil {
			return nil, -1, serr
		}
		rewritten := s.rewrite(file, parent)
		defer rewritten.Close()
		// Without digests in the options, the layer gets the digests of the stored content.
		layer, size, err = s.Store.PutLayer(id, parent, names, label, writable, &storage.LayerOptions{}, rewritten)
	}
	if err != nil {
		return layer, size, explainUnpack(err)
	}
	if err := s.applyRoot(layer.ID, parent); err != nil {
		// A later pull must not find the layer.
		return nil, -1, errors.Join(fmt.Errorf("set mode of root directory: %w", err), s.DeleteLayer(layer.ID))
	}
	return layer, size, nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// diffDir returns the directory with the files of a layer, which may be in an additional store.
func (s layerStore) diffDir(id string) string {
	own := filepath.Join(s.cfg.Root, driverName, id, "diff")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	for i := range s.cfg.AdditionalStores {
		dir := filepath.Join(s.cfg.additionalAt(i), driverName, id, "diff")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return own
}

// applyRoot sets mode and owner of the root directory as of a layer. The library ignores an
// entry ".", creates the first layer with 0555, and each other one with its parent's mode less
// the umask.
func (s layerStore) applyRoot(id, parent string) error {
	file, err := os.Open(filepath.Join(s.cfg.Root, driverName+"-layers", id+".tar-split.gz"))
	if err != nil {
		return err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	entry, err := rootEntry(unpacked)
	switch dir := s.diffDir(id); {
	case err != nil:
		return err
	case entry != nil:
		return errors.Join(os.Chown(dir, entry.Uid, entry.Gid), os.Chmod(dir, entry.FileInfo().Mode()))
	case parent == "":
		return os.Chmod(dir, rootPerm)
	default:
		return copyRoot(s.diffDir(parent), dir, IDs{})
	}
}

// copyRoot gives a directory the mode of another, and its owner, translated to ids.
func copyRoot(from, to string, ids IDs) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return errors.Join(os.Chown(to, ids.host(owner.Uid), ids.host(owner.Gid)), os.Chmod(to, info.Mode()))
}

// host returns the id of the host for one of an image. One that a container does not have becomes
// its root's.
func (ids IDs) host(id uint32) int {
	switch {
	case ids.Count == 0:
		return int(id)
	case id < ids.Count:
		return int(ids.First + id)
	}
	return int(ids.First)
}

// rootEntry returns the last entry for the root directory in a layer, or nil. r is the layer's
// description by tar-split: for each entry a JSON line with its raw headers, then one with its name.
// It refuses extended attributes through which a layer could change the overlay.
func rootEntry(r io.Reader) (root *tar.Header, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEntryBytes)
	var before []byte
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), entryPrefix) {
			before = append(before[:0], lines.Bytes()...)
			continue
		}
		isRoot := namesRoot(lines.Bytes())
		if !isRoot && len(before) < extendedBytes {
			continue
		}
		var segment struct{ Payload []byte }
		if err := json.Unmarshal(before, &segment); err != nil {
			return nil, err
		}
		if bytes.Contains(segment.Payload, []byte(xattrRecord+overlayXattrs)) {
			return nil, invalid("%s", printable(fmt.Sprintf("its entry %q has an extended attribute %s*, which is reserved for the host", nameOf(lines.Bytes()), overlayXattrs)))
		}
		if !isRoot {
			continue
		}
		padding := len(segment.Payload) % blockBytes // of the entry before
		h, err := tar.NewReader(bytes.NewReader(segment.Payload[padding:])).Next()
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			root = h
		}
	}
	return root, lines.Err()
}

// nameOf returns the absolute path in a line of tar-split's description.
func nameOf(line []byte) string {
	var entry struct {
		Name string
		Raw  []byte `json:"name_raw"` // of a name that is not UTF-8
	}
	_ = json.Unmarshal(line, &entry) // the name is for an error
	return path.Clean("/" + cmp.Or(entry.Name, string(entry.Raw)))
}

// namesRoot reports whether a line of tar-split's description names the root directory.
func namesRoot(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, append(bytes.Clone(entryPrefix), `"name":"`...))
	if !ok {
		return false
	}
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	return path.Clean("/"+string(name)) == "/"
}

// unpackText matches the error of the library's unpacking process. It repeats paths and link
// targets of the layer. The layer's digest was verified, so its author knows them.
var unpackText = regexp.MustCompile(`(?s)unpacking failed \(error: exit status 1; output: (.+?)\)(\nexhausting .*)?$`)

// explainUnpack returns an error that names the path that cannot be unpacked, unless the host is
// the cause.
func explainUnpack(err error) error {
	if plain := (*plainError)(nil); errors.As(err, &plain) {
		return plain
	}
	text := unpackText.FindStringSubmatch(err.Error())
	if text == nil || slices.ContainsFunc(hostErrors(), func(e unix.Errno) bool { return strings.HasSuffix(text[1], e.Error()) }) {
		return err
	}
	return invalid("%s", printable("a layer cannot be unpacked: "+text[1]))
}

// hostErrors returns the errors of unpacking that are not the image's fault.
func hostErrors() []unix.Errno {
	return []unix.Errno{unix.EIO, unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.ENOMEM, unix.EMFILE, unix.ENFILE}
}

package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/atomicfile"
)

// fileMode hides lines, which may contain secrets, from other users.
const fileMode = 0o640

// FileOptions bound the size and number of files.
type FileOptions struct {
	MaxBytes int64 // rotate after a batch that exceeds this size; 0 never rotates
	Keep     int   // number of rotated files to keep, as NAME.1 (the newest) to NAME.<Keep>
}

// File appends batches to a file.
type File struct {
	dir     *os.Root
	name    string
	options FileOptions

	file *os.File
	at   position
}

// position is the end of the last batch that was committed.
type position struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
}

// OpenFile opens or creates a file for batches and its directory. If last is not
// nil, data after that position is truncated, since it belongs to a batch that was
// not committed. A file with another inode is appended to and not truncated.
//
// The file is locked: only one File can have it open.
func OpenFile(path string, last json.RawMessage, o FileOptions) (*File, error) {
	f := &File{name: filepath.Base(path), options: o}
	if last != nil {
		if err := json.Unmarshal(last, &f.at); err != nil {
			return nil, fmt.Errorf("the position in %s: %w", path, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of %s: %w", path, err)
	}
	var err error
	if f.dir, err = os.OpenRoot(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.dir.Close())
	}
	return f, nil
}

// open opens the file and seeks to the position if it refers to this file.
func (f *File) open() (err error) {
	f.file, err = f.dir.OpenFile(f.name, os.O_WRONLY|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.file.Close())
		}
	}()
	if err := unix.Flock(int(f.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errors.New("another log-shipper writes to it: give each allocation a file of its own, such as one with ${NOMAD_ALLOC_ID} in its name")
	} else if err != nil {
		return fmt.Errorf("lock it: %w", err)
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file: set the path of one, or a path that does not exist yet")
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	if inode != f.at.Inode || info.Size() < f.at.Size {
		f.at = position{inode, info.Size()}
	}
	if err := f.rewind(); err != nil {
		return err
	}
	return atomicfile.Sync(f.dir, "")
}

// rewind truncates the file to the position.
func (f *File) rewind() error {
	if err := f.file.Truncate(f.at.Size); err != nil {
		return err
	}
	_, err := f.file.Seek(f.at.Size, io.SeekStart)
	return err
}

// Send appends a batch and syncs it to disk.
func (f *File) Send(_ context.Context, b Batch) error {
	if err := f.rewind(); err != nil { // an earlier attempt may have written a part
		return err
	}
	if _, err := f.file.Write(b.Body); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.at.Size += int64(len(b.Body))
	return nil
}

// Position returns the end of the file.
func (f *File) Position() json.RawMessage {
	data, err := json.Marshal(f.at)
	if err != nil {
		return nil // marshalling two numbers never fails
	}
	return data
}

// Tidy rotates the file if it is full. A crash during the rotation is equivalent to
// one after it: the new file has another inode and is empty.
func (f *File) Tidy() (bool, error) {
	if f.options.MaxBytes == 0 || f.at.Size <= f.options.MaxBytes {
		return false, nil
	}
	for n := f.options.Keep; n > 0; n-- {
		from := f.name
		if n > 1 {
			from = fmt.Sprintf("%s.%d", f.name, n-1)
		}
		err := f.dir.Rename(from, fmt.Sprintf("%s.%d", f.name, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("begin another file: %w", err)
		}
	}
	if f.options.Keep == 0 {
		if err := f.dir.Remove(f.name); err != nil {
			return false, fmt.Errorf("begin another file: %w", err)
		}
	}
	full := f.file
	if err := f.open(); err != nil {
		return false, errors.Join(fmt.Errorf("begin another file: %w", err), full.Close())
	}
	return true, full.Close()
}

// Close closes the file.
func (f *File) Close() error { return errors.Join(f.file.Close(), f.dir.Close()) }

package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// files are the rotated files of one stream: BASE.0, BASE.1, …. The newest is written
// to and the oldest are removed. Nomad's own collector names, fills and removes them
// the same way (client/logmon/logging/rotator.go).
type files struct {
	dir      *os.File
	base     string
	maxFiles int
	maxBytes int64
	links    *links // nil without an index

	index  int
	file   *os.File
	offset int64 // the end of file
}

// open opens the newest file, or creates the first.
func (f *files) open() error {
	indexes, err := f.list()
	if err != nil {
		return err
	}
	if len(indexes) > 0 {
		f.index = indexes[len(indexes)-1]
	}
	return f.openIndex()
}

// openIndex opens BASE.index at its end.
func (f *files) openIndex() error {
	name := f.nameOf(f.index)
	// Not O_APPEND, which splice does not support. Symbolic links are not followed and
	// FIFOs do not block: tasks of other drivers can write to the directory.
	fd, err := unix.Openat(int(f.dir.Fd()), name,
		unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "open", Path: f.dir.Name() + "/" + name, Err: err}
	}
	file := os.NewFile(uintptr(fd), f.dir.Name()+"/"+name)
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", file.Name())
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.offset = file, info.Size()
	return nil
}

// openPath opens BASE.n for everything but its content.
func (f *files) openPath(n int) (*os.File, error) {
	path := f.dir.Name() + "/" + f.nameOf(n)
	fd, err := unix.Openat(int(f.dir.Fd()), f.nameOf(n), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (f *files) nameOf(n int) string { return fmt.Sprintf("%s.%d", f.base, n) }

func (f *files) space() int64 { return f.maxBytes - f.offset }

// rotate continues with the next file that has space, and removes the oldest.
func (f *files) rotate() error {
	for {
		f.index++
		previous := f.file
		if err := f.openIndex(); err != nil {
			f.index--
			return err
		}
		if err := previous.Close(); err != nil {
			return err
		}
		if f.space() > 0 {
			err := f.purge()
			f.links.update(f)
			return err
		}
	}
}

func (f *files) purge() error {
	indexes, err := f.list()
	if err != nil || len(indexes) <= f.maxFiles {
		return err
	}
	var errs []error
	for _, i := range indexes[:len(indexes)-f.maxFiles] {
		err := unix.Unlinkat(int(f.dir.Fd()), f.nameOf(i), 0)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove %s/%s.%d: %w", f.dir.Name(), f.base, i, err))
		}
	}
	return errors.Join(errs...)
}

// list returns the numbers of the existing files, sorted.
func (f *files) list() ([]int, error) { return numbersIn(f.dir, f.base) }

// numbersIn returns the numbers N of the entries BASE.N of a directory, sorted.
func numbersIn(dir *os.File, base string) ([]int, error) {
	// An open directory is listed from where the last listing ended.
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	var numbers []int
	for {
		// In chunks: tasks of other drivers can fill the directory.
		const portion = 256
		names, err := dir.Readdirnames(portion)
		for _, name := range names {
			if suffix, found := strings.CutPrefix(name, base+"."); found {
				if i, err := strconv.Atoi(suffix); err == nil && i >= 0 {
					numbers = append(numbers, i)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(numbers)
			return numbers, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (f *files) close() error {
	err := f.links.close()
	if f.file == nil {
		return err
	}
	err = errors.Join(err, f.file.Close())
	f.file = nil
	return err
}

package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// linkRetryDelay is the time until links that could not be created are tried again, if the task
// writes more output.
const linkRetryDelay = 10 * time.Second

// links are the links to the files of one stream in an index. A failure, such as a full disk, is
// counted and does not affect the stream. The methods accept nil, for a stream without an index.
type links struct {
	index   Index
	name    string // links are name.0, name.1, …
	logDir  string // the target of symbolic links
	dropped func() // counts a file without a link

	dir     *os.File  // nil until it could be opened
	failed  time.Time // when the last update failed; zero if it did not
	counted int       // number of the last file that was dropped
}

func newLinks(i *Index, name, logDir string, dropped func()) *links {
	if i == nil {
		return nil
	}
	return &links{index: *i, name: name, logDir: logDir, dropped: dropped, counted: -1}
}

// update links the stream's files and removes links to files that are rotated away.
func (l *links) update(f *files) {
	if l == nil || f.file == nil {
		return
	}
	err := l.tryUpdate(f)
	if err == nil {
		l.failed = time.Time{}
		return
	}
	// The directory may have been removed.
	err = errors.Join(err, l.close())
	if l.failed.IsZero() { // otherwise fast rotation would fill the log
		log.Printf("log index: %s.%d: %v", f.base, f.index, err)
	}
	l.failed = time.Now()
	if l.counted != f.index {
		l.counted = f.index
		l.dropped()
	}
}

// retry repeats a failed update after linkRetryDelay.
func (l *links) retry(f *files, now time.Time) {
	if l != nil && !l.failed.IsZero() && now.Sub(l.failed) >= linkRetryDelay {
		l.update(f)
	}
}

func (l *links) tryUpdate(f *files) error {
	if err := l.open(); err != nil {
		return err
	}
	existing, err := f.list()
	if err != nil {
		return err
	}
	linked, err := numbersIn(l.dir, l.name)
	if err != nil {
		return err
	}
	oldest := oldestKept(append(linked, existing...), f.index, f.maxFiles)
	var errs []error
	for _, n := range linked {
		if n < oldest {
			errs = append(errs, l.remove(n))
		}
	}
	for _, n := range existing {
		if oldest <= n && n <= f.index {
			errs = append(errs, l.link(f, n))
		}
	}
	return errors.Join(errs...)
}

// oldestKept returns the lowest of the count highest numbers up to newest. A link thus outlives the
// name of a file that a user of the host or a task of another driver removed, until rotation would
// have removed it.
func oldestKept(numbers []int, newest, count int) int {
	all := slices.DeleteFunc(slices.Clone(numbers), func(n int) bool { return n > newest })
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) <= count {
		return 0
	}
	return all[len(all)-count]
}

// link links file n of a stream. It links the file that the descriptor refers to, whatever has the
// file's name now.
func (l *links) link(f *files, n int) error {
	file := f.file
	if n != f.index {
		var err error
		if file, err = f.openPath(n); errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer file.Close()
	}
	var want, have unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &want); err != nil {
		return &os.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	if want.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	err := unix.Fstatat(int(l.dir.Fd()), l.nameOf(n), &have, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		if have.Mode&unix.S_IFMT == unix.S_IFLNK || have.Dev == want.Dev && have.Ino == want.Ino {
			return nil
		}
		err = l.remove(n) // the file's name was given to another file
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return l.create(file, f.nameOf(n), n)
}

// create creates a hard link, or a symbolic link on another file system.
func (l *links) create(file *os.File, target string, n int) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", file.Fd()),
		int(l.dir.Fd()), l.nameOf(n), unix.AT_SYMLINK_FOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT): // the file was removed
		return nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK):
		err = unix.Symlinkat(filepath.Join(l.logDir, target), int(l.dir.Fd()), l.nameOf(n))
	}
	if err != nil {
		return &os.PathError{Op: "link", Path: filepath.Join(l.dir.Name(), l.nameOf(n)), Err: err}
	}
	return nil
}

func (l *links) nameOf(n int) string { return fmt.Sprintf("%s.%d", l.name, n) }

func (l *links) remove(n int) error {
	err := unix.Unlinkat(int(l.dir.Fd()), l.nameOf(n), 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: filepath.Join(l.dir.Name(), l.nameOf(n)), Err: err}
	}
	return nil
}

// open creates the directory and its MetaFile if necessary. Both streams of a task do so.
func (l *links) open() error {
	if l.dir != nil {
		var stat unix.Stat_t
		if err := unix.Fstat(int(l.dir.Fd()), &stat); err == nil && stat.Nlink > 0 {
			return nil
		}
		_ = l.close() // it was removed
	}
	root, err := os.OpenFile(l.index.Root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	pod, err := makeDir(root, root, l.index.Meta.PodName())
	if err != nil {
		return err
	}
	defer pod.Close()
	if l.dir, err = makeDir(root, pod, l.index.Meta.TaskName()); err != nil {
		return err
	}
	return l.writeMeta(root)
}

// makeDir opens a directory, and creates it with the group and permissions of root.
func makeDir(root, parent *os.File, name string) (*os.File, error) {
	err := unix.Mkdirat(int(parent.Fd()), name, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	dir, err := openIn(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if err := inherit(root, dir, 0o777); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// openIn opens an entry of an index's directory. It follows no link and no mount.
func openIn(dir *os.File, name string, flags uint64) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   flags | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// inherit gives a file the group of root, and the permissions of root that are in mask.
func inherit(root, file *os.File, mask uint32) error {
	var want, have unix.Stat_t
	err := errors.Join(unix.Fstat(int(root.Fd()), &want), unix.Fstat(int(file.Fd()), &have))
	if err == nil && have.Gid != want.Gid {
		err = unix.Fchown(int(file.Fd()), -1, int(want.Gid))
	}
	const othersWrite = 0o022
	if mode := want.Mode & mask &^ othersWrite; err == nil && have.Mode&0o7777 != mode {
		err = unix.Fchmod(int(file.Fd()), mode)
	}
	if err != nil {
		return &os.PathError{Op: "set permissions of", Path: file.Name(), Err: err}
	}
	return nil
}

// maxMetaBytes bounds a MetaFile. The job's author controls most of it.
const maxMetaBytes = 1 << 20

// writeMeta writes the MetaFile. A reader finds the old one or the new one.
func (l *links) writeMeta(root *os.File) (err error) {
	text, err := json.Marshal(l.index.Meta)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if have, err := openIn(l.dir, MetaFile, unix.O_RDONLY); err == nil {
		old, err := io.ReadAll(io.LimitReader(have, maxMetaBytes))
		if err = errors.Join(err, have.Close()); err == nil && bytes.Equal(old, text) {
			return nil
		}
	}
	temporary := temporaryMeta(l.name)
	file, err := createIn(l.dir, temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(int(l.dir.Fd()), temporary, 0) // err is more important
		}
	}()
	_, err = file.Write(text)
	if err = errors.Join(err, inherit(root, file, 0o666), file.Close()); err != nil {
		return err
	}
	fd := int(l.dir.Fd())
	if err := unix.Renameat(fd, temporary, fd, MetaFile); err != nil {
		return &os.PathError{Op: "rename", Path: file.Name(), Err: err}
	}
	return nil
}

// temporaryMeta returns the name of the MetaFile while a stream writes it.
func temporaryMeta(stream string) string { return "." + stream + "." + MetaFile }

// createIn creates a file in an index's directory, or empties it.
func createIn(dir *os.File, name string) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	fd, err := unix.Openat(int(dir.Fd()), name,
		unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (l *links) close() error {
	if l == nil || l.dir == nil {
		return nil
	}
	err := l.dir.Close()
	l.dir = nil
	return err
}

package logs

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// unfinishedAge is the age after which the directory of a task without a valid MetaFile is removed.
// A running collector writes the MetaFile immediately.
const unfinishedAge = time.Hour

// Names in an index. The sweep removes nothing else.
var (
	podName  = regexp.MustCompile(`^[A-Za-z0-9.%~-]+_[A-Za-z0-9.%~-]+_[A-Za-z0-9.%~-]+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	taskName = regexp.MustCompile(`^[A-Za-z0-9.%~-]+$`)
	fileName = regexp.MustCompile(`^((stdout|stderr)\.[0-9]+|(\.(stdout|stderr)\.)?meta\.json)$`)
)

// Sweep removes the entry of each task from the index if the directory of its allocation no longer
// exists. It returns the number of removed entries.
func Sweep(index string) (removed int, err error) {
	root, err := os.OpenFile(index, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var errs []error
	err = eachName(root, podName, func(name string) {
		n, err := sweepPod(root, name)
		removed += n
		errs = append(errs, err)
	})
	return removed, errors.Join(append(errs, err)...)
}

func sweepPod(root *os.File, name string) (removed int, err error) {
	pod, err := openIn(root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return 0, ignore(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV)
	}
	defer pod.Close()
	var errs []error
	left := 0
	err = eachName(pod, taskName, func(task string) {
		gone, err := sweepTask(pod, task)
		errs = append(errs, err)
		if gone {
			removed++
		} else {
			left++
		}
	})
	errs = append(errs, err)
	// Without any task, a collector may be about to create the directory of the first.
	if left == 0 && (removed > 0 || olderThan(pod, unfinishedAge)) {
		errs = append(errs, rmdir(root, name))
	}
	return removed, errors.Join(errs...)
}

// olderThan reports whether the entries of a directory have not changed for so long.
func olderThan(dir *os.File, age time.Duration) bool {
	info, err := dir.Stat()
	return err == nil && time.Since(info.ModTime()) > age
}

// rmdir removes a directory. One with other files is the operator's and stays.
func rmdir(parent *os.File, name string) error {
	if err := unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		err = &os.PathError{Op: "remove", Path: filepath.Join(parent.Name(), name), Err: err}
		return ignore(err, unix.ENOENT, unix.ENOTEMPTY, unix.EBUSY)
	}
	return nil
}

// sweepTask removes the entry of a task if its allocation is gone.
func sweepTask(pod *os.File, name string) (gone bool, err error) {
	dir, err := openIn(pod, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, ignore(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV)
	}
	defer dir.Close()
	if gone, err = allocIsGone(dir); !gone || err != nil {
		return false, err
	}
	var errs []error
	err = eachName(dir, fileName, func(file string) {
		if err := unix.Unlinkat(int(dir.Fd()), file, 0); err != nil {
			err = &os.PathError{Op: "remove", Path: filepath.Join(dir.Name(), file), Err: err}
			errs = append(errs, ignore(err, unix.ENOENT, unix.EISDIR))
		}
	})
	return true, errors.Join(append(errs, err, rmdir(pod, name))...)
}

// allocIsGone reports whether the allocation of a task's entry no longer exists.
func allocIsGone(dir *os.File) (bool, error) {
	var id Identity
	file, err := openIn(dir, MetaFile, unix.O_RDONLY)
	if err == nil {
		var text []byte
		text, err = io.ReadAll(io.LimitReader(file, maxMetaBytes))
		if err = errors.Join(err, file.Close()); err == nil {
			err = json.Unmarshal(text, &id)
		}
	}
	if err != nil || !filepath.IsAbs(id.AllocDir) {
		return olderThan(dir, unfinishedAge), nil
	}
	_, err = os.Lstat(id.AllocDir)
	return errors.Is(err, os.ErrNotExist), ignore(err, unix.ENOENT)
}

// eachName calls f with the names of a directory's entries that match. f may remove them.
func eachName(dir *os.File, match *regexp.Regexp, f func(name string)) error {
	for {
		const portion = 256
		names, err := dir.Readdirnames(portion)
		for _, name := range names {
			if match.MatchString(name) {
				f(name)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ignore returns nil for the given errors.
func ignore(err error, these ...error) error {
	for _, e := range these {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

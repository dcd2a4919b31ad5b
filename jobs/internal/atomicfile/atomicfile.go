// Package atomicfile replaces files so that readers find either the old content
// or the new, also after a crash or a power failure.
//
// It does not lock: writers of the same file must coordinate.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// Write replaces the file name below root with data and sets the permissions perm
// regardless of the umask. After it returns nil the new content survives a power
// failure; after an error the old content may be in place.
//
// A crash may leave a temporary file in the same directory, with a name that begins
// with a dot.
func Write(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	dir, base := path.Split(name)
	temporary := dir + "." + base + "." + rand.Text()
	err := create(root, temporary, data, perm)
	if err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path.Join(root.Name(), name), err), discard(root, temporary))
	}
	return Sync(root, dir)
}

func create(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Chmod(perm)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func discard(root *os.Root, name string) error {
	if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sync makes creations, renames and removals in a directory below root durable.
// An empty dir is root itself.
func Sync(root *os.Root, dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := root.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", path.Join(root.Name(), dir), err)
	}
	return nil
}

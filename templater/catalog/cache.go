package catalog

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Cache stores copies of catalogs in a folder, each under the digest of its files, so
// that copies are immutable. Any number of processes may use a cache. It may be removed
// at any time.
type Cache struct {
	Dir string
}

// DefaultDir returns the default cache folder: nomad-sidecar in XDG_CACHE_HOME or
// ~/.cache, in ~/Library/Caches on macOS, and in %LocalAppData% on Windows.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "nomad-sidecar"), err
}

// suffixes of folders that are incomplete or being removed.
const (
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

func (c Cache) copies() string { return filepath.Join(c.Dir, "catalogs") }

// Folder returns the path of the copy with a digest, whether or not it exists.
func (c Cache) Folder(digest string) (string, error) {
	text, ok := strings.CutPrefix(digest, "h1:")
	sum, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(sum) != 32 {
		return "", fmt.Errorf("%q is not a digest such as h1:…=", digest)
	}
	return filepath.Join(c.copies(), hex.EncodeToString(sum)), nil
}

// Read reads a copy without verifying its digest. The error is fs.ErrNotExist if
// there is none.
func (c Cache) Read(digest string) (Files, error) {
	folder, err := c.Folder(digest)
	if err != nil {
		return nil, err
	}
	files := Files{}
	err = fs.WalkDir(os.DirFS(folder), ".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[p], err = os.ReadFile(filepath.Join(folder, filepath.FromSlash(p)))
		return err
	})
	return files, err
}

// Has reports whether the cache holds an unmodified copy.
func (c Cache) Has(digest string) bool {
	files, err := c.Read(digest)
	if err != nil {
		return false
	}
	have, err := files.Digest()
	return err == nil && have == digest
}

// Store stores a copy atomically and returns its digest. It replaces a modified copy.
func (c Cache) Store(files Files) (digest string, err error) {
	digest, err = files.Digest()
	if err != nil {
		return "", err
	}
	unlock, err := c.Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if c.Has(digest) {
		return digest, nil
	}
	if err := c.store(files, digest); err != nil {
		return "", fmt.Errorf("store a copy in %s: %w", c.Dir, err)
	}
	return digest, nil
}

// Lock excludes other processes from writing to the cache and to lock files. The
// kernel releases it when the process ends.
func (c Cache) Lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.copies(), 0o755); err != nil {
		return nil, fmt.Errorf("create the cache: %w. Set NOMAD_SIDECAR_CACHE to use another folder", err)
	}
	unlock, err = lockedfile.MutexAt(filepath.Join(c.Dir, "lock")).Lock()
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	return unlock, nil
}

func (c Cache) store(files Files, digest string) error {
	if err := c.sweep(); err != nil {
		return err
	}
	folder, err := c.Folder(digest)
	if err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(c.copies(), newPrefix)
	if err != nil {
		return err
	}
	if err := write(fresh, files); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(folder, filepath.Join(c.copies(), oldPrefix+filepath.Base(folder))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(fresh, folder); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	return c.sweep()
}

// sweep removes leftovers of interrupted processes. The caller holds the lock, so no
// other process uses them.
func (c Cache) sweep() error {
	entries, err := os.ReadDir(c.copies())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.copies(), e.Name())))
		}
	}
	return err
}

func write(folder string, files Files) error {
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		local, err := filepath.Localize(name) // Windows reserves names
		if err != nil {
			return fmt.Errorf("%s: this system has no such file name", name)
		}
		path := filepath.Join(folder, local)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeNew(path, text); errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: another file has this name in other case, and this file system does not tell them apart", name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func writeNew(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444) // discourage edits
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

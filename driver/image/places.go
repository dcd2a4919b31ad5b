package image

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Places are the directories that images at a path may lie in. The zero value
// allows none.
type Places struct {
	// TaskDir is the directory that relative paths begin in; "" allows no
	// relative path. Its parent must be writable by root only.
	TaskDir string

	// SharedDir is what a relative path may name beside TaskDir, as
	// "../" + its base name; "" is nothing.
	SharedDir string

	// Paths are the operator's directories, and files, for absolute paths.
	Paths []string
}

// Locate returns the reference with its path bound to one of the places. The
// path is opened later, beneath that place and without following links. A
// reference to a registry is returned as it is. Every key that takes an image
// must pass its reference through here. Errors wrap ErrInvalidReference.
func (p Places) Locate(r Reference) (Reference, error) {
	switch {
	case r.path == "":
		return r, nil
	case filepath.IsAbs(r.path):
		return p.locateAbsolute(r)
	case p.TaskDir == "":
		return Reference{}, fmt.Errorf("%w %q: the path must be absolute", ErrInvalidReference, r)
	}
	path := filepath.Join(p.TaskDir, r.path)
	for _, anchor := range []string{p.TaskDir, p.SharedDir} {
		if name, ok := beneath(anchor, path); ok {
			r.anchor, r.path = filepath.Clean(anchor), filepath.Join(anchor, name)
			return r, nil
		}
	}
	return Reference{}, fmt.Errorf("%w %q: it leaves the task's directory; use a path beneath it or beneath ../alloc",
		ErrInvalidReference, r)
}

func (p Places) locateAbsolute(r Reference) (Reference, error) {
	allowed := slices.Clone(p.Paths)
	slices.SortFunc(allowed, func(a, b string) int { return len(b) - len(a) }) // the innermost first
	for _, anchor := range allowed {
		if _, ok := beneath(anchor, r.path); ok {
			r.anchor = filepath.Clean(anchor)
			return r, nil
		}
	}
	return Reference{}, fmt.Errorf("%w %q: absolute paths are not allowed here: the operator can set "+
		"image { paths = [%q] } in the plugin's config; or use a path relative to the task's directory",
		ErrInvalidReference, r, filepath.Dir(r.path))
}

// beneath returns the name of path relative to dir, and false if it is outside.
func beneath(dir, path string) (name string, ok bool) {
	if dir == "" {
		return "", false
	}
	name, err := filepath.Rel(dir, path)
	if err != nil || name == ".." || strings.HasPrefix(name, "../") {
		return "", false
	}
	return name, true
}

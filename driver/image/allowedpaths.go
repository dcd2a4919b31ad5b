package image

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// AllowedPaths lists the directories that an image's path may be in. The zero value allows none.
type AllowedPaths struct {
	// TaskDir is the base of relative paths; "" allows no relative path. Its parent must be
	// writable by root only.
	TaskDir string

	// SharedDir is a directory next to TaskDir that relative paths may name as "../" and its base
	// name; "" for none.
	SharedDir string

	// Paths are the operator's directories and files for absolute paths.
	Paths []string
}

// Locate returns the reference with its path bound to one of the directories. The path is opened
// later, below that directory and without following links. A reference to a registry is returned
// unchanged. Every key that accepts an image must pass its reference to Locate. Errors wrap
// ErrInvalidReference.
func (a AllowedPaths) Locate(r Reference) (Reference, error) {
	switch {
	case r.path == "":
		return r, nil
	case filepath.IsAbs(r.path):
		return a.locateAbsolute(r)
	case a.TaskDir == "":
		return Reference{}, fmt.Errorf("%w %q: the path must be absolute", ErrInvalidReference, r)
	}
	path := filepath.Join(a.TaskDir, r.path)
	for _, anchor := range []string{a.TaskDir, a.SharedDir} {
		if name, ok := relativeTo(anchor, path); ok {
			r.anchor, r.path = filepath.Clean(anchor), filepath.Join(anchor, name)
			return r, nil
		}
	}
	return Reference{}, fmt.Errorf("%w %q: it leaves the task's directory; use a path below it or below ../alloc",
		ErrInvalidReference, r)
}

func (a AllowedPaths) locateAbsolute(r Reference) (Reference, error) {
	allowed := slices.Clone(a.Paths)
	slices.SortFunc(allowed, func(x, y string) int { return len(y) - len(x) }) // innermost first
	for _, anchor := range allowed {
		if _, ok := relativeTo(anchor, r.path); ok {
			r.anchor = filepath.Clean(anchor)
			return r, nil
		}
	}
	if len(allowed) > 0 {
		return Reference{}, fmt.Errorf("%w %q: absolute paths are allowed only below %s (image { paths } of the plugin's config); "+
			"use one of these, or a path relative to the task's directory", ErrInvalidReference, r, strings.Join(a.Paths, ", "))
	}
	return Reference{}, fmt.Errorf("%w %q: absolute paths are not allowed here; the operator can set "+
		"image { paths = [%q] } in the plugin's config, or use a path relative to the task's directory",
		ErrInvalidReference, r, filepath.Dir(r.path))
}

// relativeTo returns path relative to dir, and false if path is outside dir.
func relativeTo(dir, path string) (name string, ok bool) {
	if dir == "" {
		return "", false
	}
	name, err := filepath.Rel(dir, path)
	if err != nil || name == ".." || strings.HasPrefix(name, "../") {
		return "", false
	}
	return name, true
}

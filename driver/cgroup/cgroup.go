// Package cgroup finds, measures, empties and removes control groups on
// cgroup v1, on hybrid hosts (v1 controllers and a v2 tree) and on v2.
//
// It sets limits of gVisor sandboxes only: for other containers the OCI runtime
// does, from the runtime-spec. It uses the cgroup file system only, never
// systemd.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is where every supported host mounts its cgroup file systems.
const Root = "/sys/fs/cgroup"

// Version is the kind of cgroup hierarchy of a host.
type Version string

// The hierarchies. Hybrid is v1 with a v2 tree at Root/unified.
const (
	V1     Version = "v1"
	Hybrid Version = "hybrid"
	V2     Version = "v2"
)

// ErrNone means that no cgroup file system is mounted.
var ErrNone = errors.New("no cgroup file system at " + Root)

// Detect determines the version from the file systems mounted at Root.
func Detect() (Version, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(Root, &st); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNone, err)
	}
	switch {
	case st.Type == unix.CGROUP2_SUPER_MAGIC:
		return V2, nil
	case isType(filepath.Join(Root, "unified"), unix.CGROUP2_SUPER_MAGIC):
		return Hybrid, nil
	case isType(filepath.Join(Root, "memory"), unix.CGROUP_SUPER_MAGIC):
		return V1, nil
	}
	return "", ErrNone
}

// UnifiedControllers lists the controllers of a hybrid host's v2 side.
func UnifiedControllers() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(Root, "unified", "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("read the v2 side's controllers: %w", err)
	}
	return strings.Fields(string(b)), nil
}

func isType(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == magic
}

// Group names one control group. On v1 it has the same path in every hierarchy.
type Group struct {
	version Version
	path    string
}

// At returns the group at path, relative to the root of the hierarchy
// ("/nomad.slice/share.slice/…"). It creates nothing.
func At(v Version, path string) Group {
	return Group{version: v, path: filepath.Join("/", path)}
}

// Path returns the group's path from the root of the hierarchy, the format of the
// runtime-spec's cgroupsPath.
func (g Group) Path() string { return g.path }

// Child returns the group with that name below this one.
func (g Group) Child(name string) Group { return Group{g.version, filepath.Join(g.path, name)} }

// Exists reports whether the group exists in any hierarchy.
func (g Group) Exists() bool {
	dirs, err := g.dirs()
	return err == nil && len(dirs) > 0
}

// dirs lists the group's existing directories.
func (g Group) dirs() ([]string, error) {
	if g.version == V2 {
		return existing(filepath.Join(Root, g.path)), nil
	}
	entries, err := os.ReadDir(Root)
	if err != nil {
		return nil, fmt.Errorf("list hierarchies: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		// Links ("cpu" to "cpu,cpuacct") would list a hierarchy twice.
		if e.IsDir() {
			dirs = append(dirs, existing(filepath.Join(Root, e.Name(), g.path))...)
		}
	}
	return dirs, nil
}

func existing(dir string) []string {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	return []string{dir}
}

// killDir returns the directory that lists all processes of the group.
func (g Group) killDir() string {
	if g.version == V2 {
		return filepath.Join(Root, g.path)
	}
	return filepath.Join(Root, "freezer", g.path)
}

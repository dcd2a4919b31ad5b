package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// CgroupPrefix begins the names of sandboxes' cgroups, which identify their processes from
// outside.
const CgroupPrefix = "podtest-"

// hierarchy is a cgroup v1 hierarchy, or the v2 one mounted beside them.
type hierarchy struct {
	mount string // such as /sys/fs/cgroup/memory
	own   string // the sandbox's directory in it
}

// hierarchies lists the mounted hierarchies, with a directory of the given name for the sandbox
// below this process's cgroup. On a machine with only version 2 there are none: no process may
// be in a cgroup that distributes controllers, so the sandbox could not be entered before it
// is set up.
func hierarchies(name string) ([]hierarchy, error) {
	self, err := procfs.Self()
	if err != nil {
		return nil, err
	}
	groups, err := self.Cgroups()
	if err != nil {
		return nil, fmt.Errorf("read own cgroups: %w", err)
	}
	var all []hierarchy
	for _, g := range groups {
		mount := "/sys/fs/cgroup/unified"
		if g.HierarchyID != 0 {
			controller := strings.TrimPrefix(strings.Join(g.Controllers, ","), "name=")
			mount = filepath.Join("/sys/fs/cgroup", controller)
		}
		if mounted, err := mountinfo.Mounted(mount); err != nil || !mounted {
			continue
		}
		all = append(all, hierarchy{mount, filepath.Join(mount, g.Path, name)})
	}
	return all, nil
}

// makeCgroups creates the sandbox's directories. The undo removes them recursively, when no
// process is left.
func makeCgroups(all []hierarchy) (undo func() error, err error) {
	undo = func() error {
		var errs []error
		for _, h := range all {
			errs = append(errs, removeCgroups(h.own))
		}
		return errors.Join(errs...)
	}
	for _, h := range all {
		if err := makeCgroup(h.own); err != nil {
			return nil, errors.Join(err, undo())
		}
	}
	return undo, nil
}

func makeCgroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	// A new cpuset cgroup has no processors and no memory, and accepts no process until both are
	// set.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), value, 0o644)
		}
		if err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	return nil
}

// removeCgroups removes a cgroup and those below it, the deepest first.
func removeCgroups(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// enterCgroups moves this process to the sandbox's cgroups and makes them the root of the
// visible hierarchy.
func enterCgroups(all []hierarchy) error {
	if len(all) == 0 {
		return nil // With only a cgroup namespace, paths would not match the mounts.
	}
	for _, h := range all {
		if err := os.WriteFile(filepath.Join(h.own, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("new cgroup namespace: %w", err)
	}
	for _, h := range all {
		if err := unix.Mount(h.own, h.mount, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", h.own, h.mount, err)
		}
	}
	return nil
}

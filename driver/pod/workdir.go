package pod

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// prepareWorkDir creates a missing working directory in the task's root, and follows symbolic links
// within the root, also if they lead nowhere yet, which runtimes treat differently. A directory in a
// mount is left to the runtime.
func (v view) prepareWorkDir(dir string) error {
	file, at, rest, err := v.walk(dir, nil)
	end := path.Join(append([]string{at}, rest...)...)
	switch {
	case err == nil:
		defer file.Close()
		if info, err := file.Stat(); err == nil && !info.IsDir() {
			return mistakef("work_dir %q is not a directory", dir)
		}
		return nil
	case ofProcess(end):
		return mistakef("work_dir %q belongs to a process, and to no task; use another directory", dir)
	case errors.Is(err, errTooLinky):
		return mistakef("work_dir %q leads through too many symbolic links", dir)
	case !errors.Is(err, os.ErrNotExist):
		return nil
	case v.isFile(path.Dir(at)):
		return mistakef("work_dir %q: %s is not a directory", dir, path.Dir(at))
	case slices.Contains(rest, ".."):
		return mistakef("work_dir %q leads through %s, which does not exist", dir, at)
	}
	if m, _ := v.mountOf(end); m != nil {
		if isReadonly(*m) {
			return mistakef("work_dir %q does not exist, and the mount at %s is read-only", dir, filepath.Clean(m.Destination))
		}
		return nil
	}
	if err := withoutPath(os.MkdirAll(filepath.Join(v.root, end), 0o755)); err != nil {
		return fmt.Errorf("create work_dir %q: %w", dir, err)
	}
	return nil
}

// ofProcess reports whether a path is in a directory of processes, and may lead to their files.
func ofProcess(name string) bool {
	below, proc := cutDir(name, "/proc")
	_, fd := cutDir(name, "/dev/fd")
	return fd || proc && below != ""
}

// isFile reports whether a path without symbolic links is known not to be a directory.
func (v view) isFile(name string) bool {
	file, err := v.openExact(name)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	return err == nil && !info.IsDir()
}

// checkWorkDir checks the permission for the working directory. Some runtimes enter it as root.
func (v view) checkWorkDir(p *specs.Process) error {
	dir, err := v.open(p.Cwd)
	if err != nil {
		return nil
	}
	defer dir.Close()
	if info, ok := v.mayExecute(dir, p); !ok {
		return mistakef("work_dir %q: permission denied for user %d:%d; its mode is %#o: use another directory or user",
			p.Cwd, p.User.UID, p.User.GID, info.Mode().Perm())
	}
	return nil
}

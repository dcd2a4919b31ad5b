package pod

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// prepareTargets creates missing mount targets in the root of an image. It follows the image's
// symbolic links within the root, also if they lead nowhere yet, which runtimes treat differently.
// Targets below another mount are left to the runtime.
func prepareTargets(root string, mounts []specs.Mount) error {
	for i, m := range mounts {
		target := filepath.Clean(m.Destination)
		if isBelow(target, mounts[:i]) {
			continue
		}
		if err := prepareTarget(root, target, m); err != nil {
			return fmt.Errorf("mount at %s: %w", target, err)
		}
	}
	return nil
}

// checkNested refuses a mount inside a read-only mount that lacks the target, since no runtime can
// create it there.
func (v view) checkNested() error {
	for i, m := range v.mounts {
		outer := view{root: v.root, mounts: v.mounts[:i], users: v.users}
		file, at, rest, err := outer.walk(m.Destination, nil)
		if err == nil {
			_ = file.Close() // opened with O_PATH
		}
		if !errors.Is(err, os.ErrNotExist) {
			continue
		}
		around, missing := outer.mountOf(path.Join(append([]string{at}, rest...)...))
		if around != nil && isReadonly(*around) && missing != "" {
			return mistakef("the mount at %s is read-only and has no %s to mount over; create it in the source",
				filepath.Clean(around.Destination), strings.TrimPrefix(missing, "/"))
		}
	}
	return nil
}

func isReadonly(m specs.Mount) bool {
	return slices.Contains(m.Options, "ro") || slices.Contains(m.Options, "rro")
}

// isBelow reports whether a target is below the target of another mount.
func isBelow(target string, mounts []specs.Mount) bool {
	return slices.ContainsFunc(mounts, func(outer specs.Mount) bool {
		below, ok := cutDir(target, filepath.Clean(outer.Destination))
		return ok && below != ""
	})
}

// setTmpfsModes gives existing directories in a task's root the modes of the tmpfs mounts that
// cover them: runc 1.1 gives a tmpfs the mode of its directory, whatever its options are. Targets
// below another mount are left to the runtime.
func setTmpfsModes(root string, mounts []specs.Mount) error {
	for i, m := range mounts {
		target := filepath.Clean(m.Destination)
		mode, ok := tmpfsMode(m)
		if !ok || isBelow(target, mounts[:i]) {
			continue
		}
		at, err := securejoin.SecureJoin(root, target)
		if err != nil {
			continue // the runtime reports it
		}
		var info unix.Stat_t
		if err := unix.Lstat(at, &info); err != nil || info.Mode&unix.S_IFMT != unix.S_IFDIR || info.Mode&0o7777 == mode {
			continue // a change would copy the directory to the root's own layer
		}
		if err := unix.Chmod(at, mode); err != nil {
			return fmt.Errorf("mode of the tmpfs at %s: %w", target, err)
		}
	}
	return nil
}

// tmpfsMode returns the mode in a tmpfs mount's options, of which the last counts.
func tmpfsMode(m specs.Mount) (mode uint32, ok bool) {
	if m.Type != "tmpfs" {
		return 0, false
	}
	for _, option := range m.Options {
		if text, found := strings.CutPrefix(option, "mode="); found {
			n, err := strconv.ParseUint(text, 8, 12)
			mode, ok = uint32(n), err == nil
		}
	}
	return mode, ok
}

func prepareTarget(root, target string, m specs.Mount) error {
	dir := true
	if m.Type == "bind" {
		source, err := os.Stat(m.Source)
		if err != nil {
			return nil // the runtime reports it
		}
		dir = source.IsDir()
	} else if info, err := os.Lstat(filepath.Join(root, target)); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return mistakef("the image has a symbolic link there; it must be a directory")
	}
	at, err := securejoin.SecureJoin(root, target)
	if err != nil {
		return mistakef("the image has a loop of symbolic links there")
	}
	info, err := os.Lstat(at) // all links are resolved
	switch {
	case err == nil && info.IsDir() && !dir:
		return mistakef("the image has a directory there, and a file is mounted")
	case err == nil && !info.IsDir() && dir:
		return mistakef("the image has a file there, and a directory is mounted")
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return mistakef("the image has a file in place of a parent directory")
	}
	if dir {
		return withoutPath(os.MkdirAll(at, 0o755))
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return withoutPath(err)
	}
	file, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return withoutPath(err)
	}
	return file.Close()
}

// withoutPath removes the path in the image store from an error.
func withoutPath(err error) error {
	if e := new(os.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

package pod

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// hostRoot describes the root of a task without an image before mounting, and the
// mounts of the host paths.
type hostRoot struct {
	entries []entry // parents before children
	mounts  []ocispec.Mount
	targets []entry // mount points of mounts
}

// entry is a directory, a symbolic link or an empty file, according to its mode.
type entry struct {
	path string // absolute, in the task
	mode fs.FileMode
	link string
}

// newHostRoot inspects the host paths, which must exist.
func newHostRoot(paths []HostPath) (hostRoot, error) {
	sticky := fs.ModeDir | fs.ModeSticky | 0o777
	s := hostRoot{entries: []entry{
		{"/", fs.ModeDir | 0o755, ""}, {"/etc", fs.ModeDir | 0o755, ""}, {"/run", fs.ModeDir | 0o755, ""},
		{"/root", fs.ModeDir | 0o700, ""}, {"/var", fs.ModeDir | 0o755, ""},
		{"/tmp", sticky, ""}, {"/var/tmp", sticky, ""},
		mountsLink, {"/proc", fs.ModeDir | 0o755, ""}, {"/sys", fs.ModeDir | 0o755, ""}, {"/dev", fs.ModeDir | 0o755, ""},
	}}
	for _, p := range paths {
		if to := copiedLink(p, paths); to != "" {
			s.entries = append(s.entries, entry{p.TaskPath, fs.ModeSymlink, to})
			continue
		}
		info, err := os.Stat(p.HostPath)
		if err != nil {
			return hostRoot{}, fmt.Errorf("host path: %w", err)
		}
		bind, target := ocispec.BindFile, entry{p.TaskPath, 0o644, ""}
		if info.IsDir() {
			bind, target.mode = ocispec.Bind, fs.ModeDir|0o755
		}
		s.mounts = append(s.mounts, bind(p.HostPath, p.TaskPath, true))
		s.targets = append(s.targets, target)
	}
	return s, nil
}

// copiedLink returns the target of a symbolic link such as /bin → usr/bin if the
// target is among the host paths too, and "" otherwise. The link is recreated
// instead of mounted, which is cheaper and looks the same as on the host.
func copiedLink(p HostPath, paths []HostPath) string {
	to, err := os.Readlink(p.HostPath)
	if err != nil || p.HostPath != p.TaskPath {
		return ""
	}
	target := to
	if !filepath.IsAbs(to) {
		target = filepath.Join(filepath.Dir(p.HostPath), to)
	}
	for _, other := range paths {
		if other.HostPath != other.TaskPath || other == p {
			continue
		}
		if target == other.TaskPath || strings.HasPrefix(target, other.TaskPath+"/") {
			return to
		}
	}
	return ""
}

// make creates the entries in a new directory. Symbolic links, which may be
// absolute, resolve within root, as they do in the task.
func (s hostRoot) make(root string) error {
	for _, e := range s.entries {
		if err := e.make(root); err != nil {
			return fmt.Errorf("make root: %w", err)
		}
	}
	return nil
}

func (e entry) make(root string) error {
	if e.mode&fs.ModeSymlink != 0 {
		dir, err := securejoin.SecureJoin(root, filepath.Dir(e.path))
		if err != nil {
			return err
		}
		return errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(e.link, filepath.Join(dir, filepath.Base(e.path))))
	}
	at, err := securejoin.SecureJoin(root, e.path)
	if err != nil {
		return err
	}
	if e.mode.IsDir() {
		return errors.Join(os.MkdirAll(at, 0o755), os.Chmod(at, e.mode)) // override the umask
	}
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, e.mode))
}

// usualTargets are mount points that nearly every task has.
var usualTargets = []entry{
	{"/alloc", fs.ModeDir | 0o755, ""}, {"/local", fs.ModeDir | 0o755, ""}, {"/secrets", fs.ModeDir | 0o755, ""},
	{"/etc/hosts", 0o644, ""}, {"/etc/resolv.conf", 0o644, ""}, {hostnameFile, 0o644, ""},
}

// withTargets adds the mount points of the host paths, and the task's usual mount
// points, which other tasks have too.
func (s hostRoot) withTargets(t Task) hostRoot {
	s.entries = slices.Concat(s.entries, s.targets)
	for _, e := range usualTargets {
		file := func(f File) bool { return filepath.Clean(f.Target) == e.path }
		if e.path == hostnameFile || t.mountsAt(e.path) || slices.ContainsFunc(t.Files, file) {
			s.entries = append(s.entries, e)
		}
	}
	return s
}

// name returns a hash of the entries.
func (s hostRoot) name() string {
	sum := sha256.Sum256(fmt.Append(nil, s.entries))
	return fmt.Sprintf("%x", sum[:16])
}

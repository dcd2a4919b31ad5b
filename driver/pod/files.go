package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// makeFiles creates files that are written for the task and the volumes of its image,
// and returns their mounts. They are removed with the task's directory and root.
func (c *Container) makeFiles(t Task, root rootfs) ([]ocispec.Mount, error) {
	if !t.HostNamespaces.UTS && !t.mountsAt(hostnameFile) {
		t.Files = append(slices.Clone(t.Files), File{Target: hostnameFile, Content: []byte(t.Hostname + "\n"), Readonly: true})
	}
	files, err := c.writeFiles(t.Files)
	if err != nil {
		return nil, err
	}
	err = t.users.asRoot(func() error {
		if t.Image != nil {
			if err := linkMounts(root.hostPath); err != nil {
				return err
			}
		}
		volumes, err := imageVolumes(t, root)
		files = append(files, volumes...)
		return err
	})
	return files, err
}

// hostnameFile holds the host name, as in docker.
const hostnameFile = "/etc/hostname"

// mountsLink is a link to the list of mounts that docker adds to images without it.
var mountsLink = entry{"/etc/mtab", fs.ModeSymlink, "/proc/mounts"}

// linkMounts adds mountsLink to the root of an image that has an /etc.
func linkMounts(root string) error {
	dir, err := openat2(root, filepath.Dir(mountsLink.path), unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil // without an /etc that is a directory there is nothing to add to
	}
	defer dir.Close()
	err = unix.Symlinkat(mountsLink.link, int(dir.Fd()), filepath.Base(mountsLink.path))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", mountsLink.path, err)
	}
	return nil
}

func (c *Container) writeFiles(list []File) ([]ocispec.Mount, error) {
	dir := filepath.Join(c.dir, "files")
	if err := c.m.checkpoint("make directory of files", func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return nil, fmt.Errorf("write files: %w", err)
	}
	var mounts []ocispec.Mount
	for i, f := range list {
		path := filepath.Join(dir, strconv.Itoa(i))
		if err := c.m.checkpoint("write file", func() error { return os.WriteFile(path, f.Content, 0o644) }); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.Target, err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // override the umask
			return nil, fmt.Errorf("write %s: %w", f.Target, err)
		}
		mounts = append(mounts, ocispec.BindFile(path, f.Target, f.Readonly))
	}
	return mounts, nil
}

// imageVolumes creates the directories that an image declares with VOLUME. They
// are anonymous volumes: part of the task's own writable root, and removed with
// it. If the root is mounted read-only, each is bind mounted onto itself to stay
// writable.
func imageVolumes(t Task, root rootfs) ([]ocispec.Mount, error) {
	var mounts []ocispec.Mount
	for _, v := range root.config.Volumes {
		target := filepath.Clean("/" + v)
		if target == "/" || isRuntimePath(target) || t.mountsAt(target) {
			continue
		}
		// Symbolic links in an image resolve within the image.
		path, err := securejoin.SecureJoin(root.hostPath, target)
		if err != nil {
			return nil, t.Image.explain(mistakef("VOLUME %q leads through too many symbolic links", v))
		}
		err = os.MkdirAll(path, 0o755)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EEXIST) {
			return nil, t.Image.explain(mistakef("VOLUME %q: the image has a file there, or in place of a parent directory", v))
		}
		if err != nil {
			return nil, t.Image.explain(fmt.Errorf("VOLUME %q: %w", v, withoutPath(err)))
		}
		if t.ReadonlyRoot {
			mounts = append(mounts, ocispec.Bind(path, target, false))
		}
	}
	return mounts, nil
}

// runtimePaths returns the paths through which a runtime confines a task. A task
// with its own files there could unmask paths or escape its AppArmor profile
// (CVE-2019-19921, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).
func runtimePaths() []string {
	return []string{"/proc", "/sys", "/dev/console", "/dev/null", "/dev/ptmx", "/dev/pts"}
}

// isRuntimePath reports whether a clean path is one of runtimePaths, is below one,
// or is /dev itself.
func isRuntimePath(target string) bool {
	return target == "/dev" || slices.ContainsFunc(runtimePaths(), func(p string) bool {
		return target == p || strings.HasPrefix(target, p+"/")
	})
}

// checkTargets refuses mounts over runtimePaths and devices there or in a mount, unless the task
// is privileged. resolve maps a target to the path at which it is mounted.
func (t Task) checkTargets(resolve func(target string) (string, error)) error {
	if t.Privileged {
		return nil
	}
	mounted := []string{"/dev/shm", "/dev/mqueue"}
	for _, target := range t.mountTargets() {
		at, err := resolve(target)
		if err != nil {
			return fmt.Errorf("mount at %s: %w", target, err)
		}
		if isRuntimePath(at) {
			return fmt.Errorf("%w: mount at %s: %s is the runtime's; mount elsewhere, or set privileged = true where the operator allows it", ErrInvalid, target, at)
		}
		mounted = append(mounted, at)
	}
	for _, d := range t.Devices {
		if err := d.checkTarget(mounted, resolve); err != nil {
			return err
		}
	}
	return nil
}

// mountTargets returns the targets of all mounts of a task.
func (t Task) mountTargets() []string {
	var targets []string
	for _, m := range t.Mounts {
		targets = append(targets, m.Target)
	}
	for _, b := range t.UntrustedBinds {
		targets = append(targets, b.Target)
	}
	for _, v := range t.Volumes {
		targets = append(targets, v.Target)
	}
	for _, m := range t.ImageMounts {
		targets = append(targets, m.Target)
	}
	for _, f := range t.Files {
		targets = append(targets, f.Target)
	}
	return targets
}

// inRoot returns a function that resolves symbolic links within an image.
func inRoot(root string) func(target string) (string, error) {
	return func(target string) (string, error) {
		at, err := securejoin.SecureJoin(root, target)
		if err != nil {
			return "", mistakef("the image has a loop of symbolic links there")
		}
		return filepath.Clean("/" + strings.TrimPrefix(at, root)), nil
	}
}

// mountsAt reports whether a task already has a mount at target.
func (t Task) mountsAt(target string) bool {
	return slices.ContainsFunc(t.mountTargets(), func(at string) bool { return filepath.Clean(at) == target })
}

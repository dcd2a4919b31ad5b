package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// fill makes what a task has beside its image and its mounts: files that were
// written for it, and the volumes of the image. It goes with the task's
// directory and root.
func (c *Container) fill(t Task, root rootfs) ([]ocispec.Mount, error) {
	files, err := c.writeFiles(t.Files)
	if err != nil {
		return nil, err
	}
	volumes, err := imageVolumes(t, root)
	return append(files, volumes...), err
}

func (c *Container) writeFiles(list []File) ([]ocispec.Mount, error) {
	dir := filepath.Join(c.dir, "files")
	if err := c.m.step("make directory of files", func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return nil, fmt.Errorf("write files: %w", err)
	}
	var mounts []ocispec.Mount
	for i, f := range list {
		path := filepath.Join(dir, strconv.Itoa(i))
		if err := c.m.step("write file", func() error { return os.WriteFile(path, f.Content, 0o644) }); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.Target, err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask is
			return nil, fmt.Errorf("write %s: %w", f.Target, err)
		}
		mounts = append(mounts, ocispec.BindFile(path, f.Target, f.Readonly))
	}
	return mounts, nil
}

// imageVolumes makes the directories that an image declares with VOLUME. They
// are in the task's root, which is its own, writable and gone with it: that is
// all a volume without a name is. Under a root that is read-only they are
// mounted over themselves, to stay writable.
func imageVolumes(t Task, root rootfs) ([]ocispec.Mount, error) {
	var mounts []ocispec.Mount
	for _, v := range root.config.Volumes {
		target := filepath.Clean("/" + v)
		if target == "/" || t.mountsAt(target) {
			continue
		}
		// Links in an image lead nowhere but into the image.
		path, err := securejoin.SecureJoin(root.hostPath, target)
		if err == nil {
			err = os.MkdirAll(path, 0o755)
		}
		if err != nil {
			return nil, fmt.Errorf("volume %s of the image: %w", v, err)
		}
		if t.ReadonlyRoot {
			mounts = append(mounts, ocispec.Bind(path, target, false))
		}
	}
	return mounts, nil
}

// mountsAt tells whether a task has something mounted at a target already.
func (t Task) mountsAt(target string) bool {
	return slices.ContainsFunc(t.Mounts, func(m ocispec.Mount) bool { return filepath.Clean(m.Target) == target }) ||
		slices.ContainsFunc(t.Beneath, func(b Beneath) bool { return filepath.Clean(b.Target) == target }) ||
		slices.ContainsFunc(t.Volumes, func(v Volume) bool { return filepath.Clean(v.Target) == target })
}

package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// HostPath is a path of the host that tasks without an image see, read-only.
type HostPath struct{ HostPath, TaskPath string }

// ParseHostPath reads "HOST" or "HOST:TASK"; both are absolute and clean.
func ParseHostPath(s string) (HostPath, error) {
	host, task, two := strings.Cut(s, ":")
	if !two {
		task = host
	}
	for _, p := range []string{host, task} {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
			return HostPath{}, fmt.Errorf("host path %q: want \"/path\" or \"/path/on/host:/path/in/task\"", s)
		}
	}
	return HostPath{host, task}, nil
}

// makeRoot makes the root file system of a container from an image, or from
// the host's paths where that is the zero value.
func (m *Manager) makeRoot(ctx context.Context, id string, img image.Image) (rootfs, error) {
	if img.ID == "" {
		root := rootfs{hostPath: filepath.Join(m.rootsDir(), id), userDir: "/"}
		err := m.step("make root", func() (err error) {
			root.mounts, err = makeHostRoot(root.hostPath, m.cfg.HostPaths)
			return err
		})
		return root, err
	}
	store, err := m.images()
	if err != nil {
		return rootfs{}, err
	}
	dir, err := store.Mount(ctx, id, img)
	if err != nil {
		return rootfs{}, err
	}
	return rootfs{hostPath: dir, userDir: dir, config: img.Config}, nil
}

// removeRoot takes makeRoot back, whichever kind of root it was. Without an
// image the store is left alone: it may not open where the disk is full.
func (m *Manager) removeRoot(id string, withImage bool) error {
	root := filepath.Join(m.rootsDir(), id)
	err := m.step("remove root", func() error {
		if _, err := os.Lstat(root); errors.Is(err, os.ErrNotExist) {
			return nil // a file system that is read-only would refuse to remove nothing
		}
		return os.RemoveAll(root)
	})
	if !withImage || !m.imagesUsed() {
		return err
	}
	store, serr := m.images()
	if serr != nil {
		return errors.Join(err, serr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
	defer cancel()
	return errors.Join(err, store.Release(ctx, id))
}

// makeHostRoot makes the directory that becomes the root of a task without an
// image, and returns the mounts that fill it. The directory is the task's to
// write; the host's paths are not.
func makeHostRoot(root string, paths []HostPath) ([]ocispec.Mount, error) {
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{"", 0o755}, {"etc", 0o755}, {"run", 0o755}, {"root", 0o700}, {"var", 0o755},
		{"tmp", 0o777 | os.ModeSticky}, {"var/tmp", 0o777 | os.ModeSticky},
	} {
		p := filepath.Join(root, d.path)
		if err := os.MkdirAll(p, 0o755); err != nil {
			return nil, fmt.Errorf("make root: %w", err)
		}
		if err := os.Chmod(p, d.mode); err != nil { // whatever the umask is
			return nil, fmt.Errorf("make root: %w", err)
		}
	}
	var mounts []ocispec.Mount
	for _, p := range paths {
		linked, err := copyLink(root, p, paths)
		if err != nil {
			return nil, err
		}
		if linked {
			continue
		}
		info, err := os.Stat(p.HostPath)
		if err != nil {
			return nil, fmt.Errorf("host path: %w", err)
		}
		bind := ocispec.BindFile
		if info.IsDir() {
			bind = ocispec.Bind
		}
		mounts = append(mounts, bind(p.HostPath, p.TaskPath, true))
	}
	return mounts, nil
}

// copyLink makes a symbolic link such as /bin → usr/bin anew where what it
// leads to is there too, which is cheaper than a mount and looks as it does
// on the host.
func copyLink(root string, p HostPath, paths []HostPath) (bool, error) {
	to, err := os.Readlink(p.HostPath)
	if err != nil || p.HostPath != p.TaskPath {
		return false, nil //nolint:nilerr // it is no link, or not at its own place
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
			link := filepath.Join(root, p.TaskPath)
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				return false, fmt.Errorf("make root: %w", err)
			}
			return true, os.Symlink(to, link)
		}
	}
	return false, nil
}

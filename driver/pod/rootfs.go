package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// HostPath is a host path that tasks without an image see read-only.
type HostPath struct{ HostPath, TaskPath string }

// ParseHostPath parses "HOST" or "HOST:TASK". Both must be absolute and clean.
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

// makeRoot creates the root file system of a container from an image, or from host
// paths if img is the zero value. The container can write to the root, but not to
// the host paths.
func (m *Manager) makeRoot(ctx context.Context, u *users, id string, img image.Image) (rootfs, error) {
	if img.ID == "" {
		root := rootfs{hostPath: filepath.Join(m.rootsDir(), id), userDir: "/"}
		err := m.checkpoint("make root", func() error {
			s, err := newHostRoot(m.cfg.HostPaths)
			if err != nil {
				return err
			}
			root.mounts = s.mounts
			err = os.MkdirAll(m.rootsDir(), 0o700)
			return errors.Join(err, u.asRoot(func() error { return s.make(root.hostPath) }))
		})
		return root, err
	}
	store, err := m.images()
	if err != nil {
		return rootfs{}, err
	}
	dir, err := store.MountMapped(ctx, id, img, u.ids())
	if err != nil {
		return rootfs{}, err
	}
	return rootfs{hostPath: dir, userDir: dir, config: img.Config}, nil
}

// removeRoot undoes makeRoot for either kind of root, and releases the task's layers in the
// image store. Without layers it does not open the store, which fails on a full disk.
func (m *Manager) removeRoot(id string, storeIDs []string) error {
	root := filepath.Join(m.rootsDir(), id)
	err := m.checkpoint("remove root", func() error {
		if _, err := os.Lstat(root); errors.Is(err, os.ErrNotExist) {
			return nil // a read-only file system would fail even if nothing exists
		}
		return os.RemoveAll(root)
	})
	if len(storeIDs) == 0 || !m.imagesUsed() {
		return err
	}
	store, serr := m.images()
	if serr != nil {
		return errors.Join(err, serr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
	defer cancel()
	errs := []error{err}
	for _, id := range storeIDs {
		errs = append(errs, store.Release(ctx, id))
	}
	return errors.Join(errs...)
}

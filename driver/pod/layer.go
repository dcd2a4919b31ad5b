package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// makeRoot creates the root of a task as Manager.makeRoot does, but uses an
// overlay over a shared host root for a task without an image, if the file system
// of DataDir supports it. Then hardly anything is written to disk for a task. The
// overlay stays mounted until the container is created and holds it in its own
// mount namespace.
func (c *Container) makeRoot(ctx context.Context, t Task, img image.Image) (rootfs, error) {
	if img.ID != "" || c.m.layers.useless() {
		return c.m.makeRoot(ctx, t.users, c.id, img)
	}
	s, err := newHostRoot(c.m.cfg.HostPaths)
	if err != nil {
		return rootfs{}, err
	}
	lower, err := c.m.layers.lower(s.withTargets(t))
	if err != nil {
		return rootfs{}, err
	}
	err = c.mountLayer(t.users, lower)
	if errors.Is(err, errNoOverlay) {
		c.m.cfg.Log.Info("tasks without an image get separate roots, which take longer to create", "reason", err)
		c.m.layers.giveUp()
		if err := c.m.removeRoot(c.id, nil); err != nil {
			return rootfs{}, err
		}
		return c.m.makeRoot(ctx, t.users, c.id, img)
	}
	return rootfs{hostPath: c.rootPoint(), userDir: "/", mounts: s.mounts}, err
}

// errNoOverlay reports that a file system cannot be part of an overlay.
var errNoOverlay = errors.New("no overlay")

// mountLayer mounts an empty overlay layer over lower. "volatile" skips the sync on
// unmount: the layer is removed when the task ends.
func (c *Container) mountLayer(u *users, lower string) error {
	own := filepath.Join(c.m.rootsDir(), c.id)
	upper, work := filepath.Join(own, "upper"), filepath.Join(own, "work")
	if strings.ContainsAny(lower+own, `,:\`) { // separators of overlay options
		return fmt.Errorf("%w: mount options cannot contain %s and %s", errNoOverlay, lower, own)
	}
	err := c.m.checkpoint("make overlay", func() error {
		return errors.Join(os.MkdirAll(own, 0o700), os.MkdirAll(upper, 0o755), os.Chmod(upper, 0o755), os.MkdirAll(work, 0o700), makePoint(c.rootPoint(), true))
	})
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	if lower, err = c.mapLower(u, lower, upper); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile", lower, upper, work)
	err = c.m.checkpoint("mount overlay", func() error { return unix.Mount("overlay", c.rootPoint(), "overlay", 0, options) })
	for _, unable := range []error{unix.EINVAL, unix.ENODEV, unix.EPERM, unix.EOPNOTSUPP} {
		if errors.Is(err, unable) {
			return fmt.Errorf("%w over %s: %w", errNoOverlay, own, err)
		}
	}
	if err == nil {
		err = isWritable(c.rootPoint(), work)
	}
	if err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	return nil
}

// isWritable returns an error if the kernel cannot create files in the overlay's
// work directory, for example without free inodes. The kernel then mounts the
// overlay read-only.
func isWritable(at, work string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		return err
	}
	dir, err := os.MkdirTemp(work, "why-")
	if err != nil {
		return err
	}
	return errors.Join(fmt.Errorf("the kernel could not write to %s", work), os.Remove(dir))
}

// layers keeps the host roots that overlays are mounted over. Each is named by a
// hash of its content: a task keeps its own if the operator changes the paths.
type layers struct {
	m   *Manager
	dir string

	mu     sync.Mutex
	failed bool
}

func (l *layers) useless() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// giveUp makes later tasks use roots without overlays.
func (l *layers) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
}

// lower returns the directory of a host root and creates it atomically if it does
// not exist.
func (l *layers) lower(s hostRoot) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := filepath.Join(l.dir, s.name())
	if _, err := os.Stat(at); err == nil {
		return at, nil
	}
	err := l.m.checkpoint("make host root", func() error {
		part := at + ".part"
		err := errors.Join(os.MkdirAll(l.dir, 0o700), os.RemoveAll(part))
		if err == nil {
			err = s.make(part)
		}
		if err == nil {
			err = os.Rename(part, at)
		}
		return err
	})
	return at, err
}

// sweep removes all host roots. No task may be left.
func (l *layers) sweep() error {
	return l.m.checkpoint("remove host roots", func() error { return os.RemoveAll(l.dir) })
}

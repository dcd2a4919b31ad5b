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

// makeRoot makes the root of a task as Manager.makeRoot does. That of one
// without an image is an overlay where the file system of DataDir can be a part
// of one: over a skeleton that tasks have in common, so that the disk has next
// to nothing to make for a task. It is mounted until the container was created,
// which has it from then on.
func (c *Container) makeRoot(ctx context.Context, t Task, img image.Image) (rootfs, error) {
	if img.ID != "" || c.m.layers.useless() {
		return c.m.makeRoot(ctx, c.id, img)
	}
	s, err := newSkeleton(c.m.cfg.HostPaths)
	if err != nil {
		return rootfs{}, err
	}
	lower, err := c.m.layers.lower(s.withTargets(t))
	if err != nil {
		return rootfs{}, err
	}
	err = c.mountLayer(lower)
	if errors.Is(err, errNoOverlay) {
		c.m.cfg.Log.Info("tasks without an image have roots of their own, which take longer to make", "reason", err)
		c.m.layers.giveUp()
		if err := c.m.removeRoot(c.id, false); err != nil {
			return rootfs{}, err
		}
		return c.m.makeRoot(ctx, c.id, img)
	}
	return rootfs{hostPath: c.rootPoint(), userDir: "/", mounts: s.mounts}, err
}

// errNoOverlay says that a file system can not be a part of an overlay.
var errNoOverlay = errors.New("no overlay")

// mountLayer mounts an empty layer over another. What the task writes there is
// not worth a sync when it ends, which "volatile" leaves out: it is removed.
func (c *Container) mountLayer(lower string) error {
	own := filepath.Join(c.m.rootsDir(), c.id)
	upper, work := filepath.Join(own, "upper"), filepath.Join(own, "work")
	if strings.ContainsAny(lower+own, `,:\`) { // they mean something among options
		return fmt.Errorf("%w: %s and %s are to be in its options", errNoOverlay, lower, own)
	}
	err := c.m.step("make overlay", func() error {
		return errors.Join(os.MkdirAll(own, 0o700), os.MkdirAll(upper, 0o755), os.Chmod(upper, 0o755), os.MkdirAll(work, 0o700), makePoint(c.rootPoint(), true))
	})
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile", lower, upper, work)
	err = c.m.step("mount overlay", func() error { return unix.Mount("overlay", c.rootPoint(), "overlay", 0, options) })
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

// isWritable is an error where the kernel could make nothing in the overlay's
// work directory, for want of an inode for example. Then it mounts it read-only.
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

// layers keeps the skeletons that roots are layers over. They are named by what
// is in them: a task keeps its own where the operator changes the paths.
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

// giveUp has roots made without layers from now on.
func (l *layers) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
}

// lower is the directory of a skeleton. Where it is not there, it is made, as a
// whole or not at all.
func (l *layers) lower(s skeleton) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := filepath.Join(l.dir, s.name())
	if _, err := os.Stat(at); err == nil {
		return at, nil
	}
	err := l.m.step("make skeleton", func() error {
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

// sweep removes all skeletons. It is for when no task is left.
func (l *layers) sweep() error {
	return l.m.step("remove skeletons", func() error { return os.RemoveAll(l.dir) })
}

package pod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// imagesOf are the images of a task in the store. The zero value has none.
type imagesOf struct {
	root   image.Image
	mounts []image.Image // as in Task.ImageMounts

	holds []func() // keep the images from being collected before they are mounted
}

// release ends the holds.
func (i imagesOf) release() {
	for _, release := range i.holds {
		release()
	}
}

// usesImages reports whether a task needs the image store.
func (t Task) usesImages() bool { return t.Image != nil || len(t.ImageMounts) > 0 }

// pullTimeout returns the limit for the task's pulls, 0 for none.
func (t Task) pullTimeout() time.Duration {
	switch {
	case len(t.ImageMounts) == 0: // the store's own limit has a better error
		return 0
	case t.Image != nil:
		return t.Image.Pull.Timeout
	}
	return t.ImageMounts[0].Pull.Timeout
}

// pulled pulls the task's images, one after the other. The timeout of the first counts for all
// together: Nomad cannot interrupt them. The caller must release the result, also with an error.
func (m *Manager) pulled(ctx context.Context, t Task, event func(string)) (out imagesOf, err error) {
	if limit := t.pullTimeout(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: the images were not complete within %s", image.ErrPullTimeout, limit))
		defer cancel()
	}
	if t.Image != nil {
		if out.root, err = m.pull(ctx, *t.Image, event, &out); err != nil {
			return out, err
		}
	}
	for _, mount := range t.ImageMounts {
		img, err := m.pull(ctx, mount.Image, event, &out)
		if err != nil {
			return out, fmt.Errorf("mount at %s: %w", mount.Target, err)
		}
		out.mounts = append(out.mounts, img)
	}
	return out, nil
}

// imageMountID returns the id of a task's image mount in the image store. A container id has no
// slash, so that a sweep can find the task.
func imageMountID(containerID string, n int) string {
	return containerID + "/image-" + strconv.Itoa(n)
}

// storeIDs are the ids in the image store that a task may have.
func (c *Container) storeIDs() []string {
	var ids []string
	if c.state.WithImage || c.state.ImageID != "" {
		ids = append(ids, c.id)
	}
	for n := range c.state.ImageMounts {
		ids = append(ids, imageMountID(c.id, n))
	}
	return ids
}

// stageImage mounts an image in the store and binds the part of it that a task wants to the
// staging directory.
//
// The mount in the store stays until the task is removed: it keeps the image from being collected.
// Its writable layer stays empty, since the task gets a read-only bind mount.
func (c *Container) stageImage(ctx context.Context, u *users, n int, m ImageMount, img image.Image) (ocispec.Mount, error) {
	store, err := c.m.images()
	if err != nil {
		return ocispec.Mount{}, err
	}
	root, err := store.MountMapped(ctx, imageMountID(c.id, n), img, u.ids())
	if err != nil {
		return ocispec.Mount{}, err
	}
	// No task can write there, but an image may contain links.
	f, err := openat2(root, m.Subpath, unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return ocispec.Mount{}, m.explainSubpath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ocispec.Mount{}, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return ocispec.Mount{}, m.explain(mistakef("image_options.subpath %q is neither a directory nor a regular file", m.Subpath))
	}
	at := filepath.Join(c.stageDir(), "image-"+strconv.Itoa(n))
	return c.bindOnStage(nil, f, info, at, m.Target, true) // its files are mapped already
}

// explainSubpath replaces an error that is due to the image's content.
func (m ImageMount) explainSubpath(err error) error {
	for _, due := range []error{fs.ErrNotExist, unix.ENOTDIR} {
		if errors.Is(err, due) {
			return m.explain(mistakef("image_options.subpath %q does not exist in the image", m.Subpath))
		}
	}
	if errors.Is(err, unix.ELOOP) {
		return m.explain(mistakef("image_options.subpath %q leads through too many symbolic links", m.Subpath))
	}
	return m.explain(fmt.Errorf("image_options.subpath %q: %w", m.Subpath, withoutPath(err)))
}

// bindOnStage binds an opened directory or file to a path of the staging directory, and returns the
// mount from there.
func (c *Container) bindOnStage(u *users, f *os.File, info os.FileInfo, at, target string, readonly bool) (ocispec.Mount, error) {
	if err := c.m.checkpoint("make stage", func() error { return makePoint(at, info.IsDir()) }); err != nil {
		return ocispec.Mount{}, err
	}
	source := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	err := c.m.checkpoint("mount on stage", func() error {
		if u != nil {
			return u.mount(f, at)
		}
		return unix.Mount(source, at, "", unix.MS_BIND|unix.MS_REC, "")
	})
	if err != nil {
		return ocispec.Mount{}, fmt.Errorf("bind %s: %w", f.Name(), err)
	}
	return bindOf(info)(at, target, readonly), nil
}

// bindOf returns the constructor of a bind mount of a directory or of a file.
func bindOf(info os.FileInfo) func(source, target string, readonly bool) ocispec.Mount {
	if info.IsDir() {
		return ocispec.Bind
	}
	return ocispec.BindFile
}

package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// openBeneath opens name below dir and follows no symbolic link on the way.
//
// Tasks can write to the directories of their allocation, while mounts are made
// with root's rights (CVE-2026-14896).
func openBeneath(dir, name string) (*os.File, error) {
	f, err := openat2(dir, name, unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS, // magic links included
	})
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: the path contains a symbolic link, which is not followed", err)
	}
	return f, err
}

// maxRootFileBytes exceeds any reasonable passwd or group file.
const maxRootFileBytes = 16 << 20

// openInRoot opens a file for reading inside root dir; symbolic links resolve
// within dir. A missing file reads as empty. Devices, FIFOs and endless files are
// rejected, since an image could use them to hang this process.
func openInRoot(dir, name string) (io.ReadCloser, error) {
	f, err := openat2(dir, name, unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, os.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxRootFileBytes) {
		err = fmt.Errorf("%w: /%s in the task's root is not a regular file of at most %d bytes", ErrInvalid, name, maxRootFileBytes)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// existsInRoot checks that a path exists inside root dir, with symbolic links
// resolved within it.
func existsInRoot(dir, name string) error {
	f, err := openat2(dir, name, unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	return f.Close()
}

func openat2(dir, name string, how unix.OpenHow) (*os.File, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(dir, name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir, name)), nil
}

// stage binds each opened source to a directory that no task can write to, and
// returns mounts from there, so that a task cannot swap a source between the
// check and the mount. Staged mounts are needed until the container is created.
func (c *Container) stage(ctx context.Context, t Task, images []image.Image) ([]ocispec.Mount, error) {
	var mounts []ocispec.Mount
	if len(t.UntrustedBinds)+len(t.ImageMounts) == 0 && t.users == nil {
		return nil, nil
	}
	if err := c.m.checkpoint("make stage", c.bindStage); err != nil {
		return nil, err
	}
	if err := t.users.stageSys(c.stageDir(), t.Network); err != nil {
		return nil, err
	}
	for i, b := range t.UntrustedBinds {
		at := filepath.Join(c.stageDir(), strconv.Itoa(i))
		m, err := c.stageOne(t.users, b, at)
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			return nil, mistakef("%smount at %s: source %q has a symbolic link, or a file in place of a directory; neither is followed", b.prefix(), b.Target, b.source())
		}
		if err != nil {
			return nil, fmt.Errorf("%smount at %s: source %q: %w", b.prefix(), b.Target, b.source(), withoutPath(err))
		}
		mounts = append(mounts, m)
	}
	for i, m := range t.ImageMounts {
		mount, err := c.stageImage(ctx, t.users, i, m, images[i])
		if err != nil {
			return nil, fmt.Errorf("mount at %s: %w", m.Target, err)
		}
		mounts = append(mounts, mount)
	}
	return mounts, nil
}

// bindStage makes the staging directory a mount, so that one system call detaches
// everything below it: the kernel waits for an RCU grace period in each call.
func (c *Container) bindStage() error {
	if err := makePoint(c.stageDir(), true); err != nil {
		return err
	}
	if err := unix.Mount(c.stageDir(), c.stageDir(), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", c.stageDir(), err)
	}
	return nil
}

func (c *Container) stageOne(u *users, b UntrustedBind, at string) (ocispec.Mount, error) {
	f, err := openBeneath(b.DirHostPath, b.Name)
	if b.Make && errors.Is(err, os.ErrNotExist) {
		if err = makeBeneath(b.DirHostPath, b.Name); err == nil {
			f, err = openBeneath(b.DirHostPath, b.Name)
		}
	}
	if err != nil {
		return ocispec.Mount{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ocispec.Mount{}, err
	}
	if fixed, err := b.fixed(); err != nil {
		return ocispec.Mount{}, err
	} else if fixed && u == nil {
		return bindOf(info)(f.Name(), b.Target, b.Readonly), nil
	}
	return c.bindOnStage(u, f, info, at, b.Target, b.Readonly)
}

// source is the source as a job writes it: relative to the task's directory, or to the allocation's.
func (b UntrustedBind) source() string {
	if dir := filepath.Base(b.DirHostPath); dir == "alloc" {
		return filepath.Join("../alloc", b.Name)
	}
	return b.Name
}

func (b UntrustedBind) prefix() string {
	if b.Key == "" {
		return ""
	}
	return b.Key + ": "
}

// fixed reports whether only root can replace the source by name. Such a source
// needs no staging.
func (b UntrustedBind) fixed() (bool, error) {
	if name := filepath.Clean(b.Name); name == "." || strings.Contains(name, "/") {
		return false, nil
	}
	info, err := os.Stat(b.DirHostPath)
	if err != nil {
		return false, err
	}
	const othersWrite = 0o022
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && info.Mode().Perm()&othersWrite == 0, nil
}

// makePoint creates a mount point: a directory or an empty file.
func makePoint(at string, dir bool) error {
	if dir {
		return os.MkdirAll(at, 0o700)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o600)
}

// makeBeneath creates a directory and its parents below dir, owned by root as
// with docker, and follows no symbolic link.
func makeBeneath(dir, name string) error {
	parent := "."
	for _, part := range strings.Split(filepath.Clean(name), "/") {
		f, err := openBeneath(dir, parent)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(int(f.Fd()), part, 0o755)
		if cerr := f.Close(); err == nil || errors.Is(err, unix.EEXIST) {
			err = cerr
		}
		parent = filepath.Join(parent, part)
		if err != nil {
			return &os.PathError{Op: "mkdir", Path: filepath.Join(dir, parent), Err: err}
		}
	}
	return nil
}

// stageRoot bind mounts a root to a mount point of its own if it is no mount yet
// and a volume of the task propagates mounts to or from the host. Runtimes make
// the mount that contains the root private, and volumes may be on that mount too.
func (c *Container) stageRoot(t Task, root string) (string, error) {
	at := c.rootPoint()
	if t.users != nil {
		return c.stageRootOf(t.users, root)
	}
	if t.Image != nil || root == at || !slices.ContainsFunc(t.Mounts, ocispec.Mount.Propagates) {
		return root, nil
	}
	err := makePoint(at, true)
	if err == nil {
		err = c.m.checkpoint("mount root on itself", func() error { return unix.Mount(root, at, "", unix.MS_BIND, "") })
	}
	if err != nil {
		return "", fmt.Errorf("bind %s: %w", root, err)
	}
	return at, nil
}

// unstage undoes stage, stageRoot and mountLayer, for this and any earlier
// process.
func (c *Container) unstage() error {
	return c.m.checkpoint("unmount stage", func() error {
		return errors.Join(unmount(c.stageDir()), removeMountpoints(c.stageDir()), unmount(c.rootPoint()),
			unmount(c.m.usersRoot(c.id)), unmount(c.lowerPoint()))
	})
}

// rootPoint is the mount point of a staged root. The empty directory stays after
// unmounting, because runc changes to it when it executes a program.
func (c *Container) rootPoint() string { return filepath.Join(c.dir, "root") }

func (c *Container) stageDir() string { return filepath.Join(c.dir, "stage") }

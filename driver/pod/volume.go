package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Volume is a memory volume, shared by all tasks of the pod that name it. It is removed
// with the pod.
type Volume struct {
	Name, Target string
	SizeBytes    int64 // 0: another task's size, or the default
	Readonly     bool
}

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$`)

func (p *pod) volumesDir() string { return filepath.Join(p.dir, "volumes") }

// makeVolumes creates the task's volumes that the pod does not have yet. The caller
// must hold p.mu.
func (p *pod) makeVolumes(t Task) error {
	for _, v := range t.Volumes {
		if err := p.makeVolume(t.users, v); err != nil {
			return fmt.Errorf("pod_volume %q: %w", v.Name, err)
		}
	}
	return nil
}

func (p *pod) makeVolume(u *users, v Volume) error {
	dir := filepath.Join(p.volumesDir(), v.Name)
	have, mounted, err := tmpfsSize(dir)
	if err != nil {
		return err
	}
	if mounted {
		if v.SizeBytes != 0 && roundUp(v.SizeBytes) != have {
			return fmt.Errorf("%w: size = %d bytes, but another task of the pod set %d; set the same size in all tasks, or in one task only",
				ErrInvalid, v.SizeBytes, have)
		}
		return nil
	}
	size := v.SizeBytes
	if size == 0 {
		size = defaultTmpfsBytes(p.m.cfg.SharedMemoryMax)
	}
	return p.m.checkpoint("mount pod volume", func() error { return mountTmpfs(dir, size, unix.MS_NOSUID|unix.MS_NODEV, u.root()) })
}

// volumeMounts returns the mounts of the task's volumes.
func (p *pod) volumeMounts(t Task) []ocispec.Mount {
	var out []ocispec.Mount
	for _, v := range t.Volumes {
		out = append(out, ocispec.Bind(filepath.Join(p.volumesDir(), v.Name), v.Target, v.Readonly))
	}
	return out
}

func (p *pod) removeVolumes() error {
	return p.m.checkpoint("unmount pod volumes", func() error { return removeMountpoints(p.volumesDir()) })
}

// removeMountpoints removes a directory of mount points, but nothing that is mounted there.
// It returns nil if the directory does not exist.
func removeMountpoints(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		if err := unmount(at); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, os.Remove(at))
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}

// mountTmpfs creates a directory and mounts a tmpfs there that is writable by all
// users and belongs to owner.
func mountTmpfs(dir string, sizeBytes int64, flags uintptr, owner uint32) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=1777,uid=%d,gid=%d,%s", owner, owner, tmpfsLimits(sizeBytes))
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", dir, err)
	}
	return nil
}

// tmpfsLimits returns the mount options that limit the pages and inodes of a tmpfs.
func tmpfsLimits(sizeBytes int64) string {
	return fmt.Sprintf("size=%d,nr_inodes=%d", roundUp(sizeBytes), inodes(sizeBytes))
}

// tmpfsSize returns the size of a tmpfs at dir, and false if there is none.
func tmpfsSize(dir string) (int64, bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("statfs %s: %w", dir, err)
	}
	mounted, err := isMountpoint(dir)
	return int64(st.Blocks) * st.Bsize, mounted && st.Type == unix.TMPFS_MAGIC, err
}

// isMountpoint compares a directory with its parent; run_dir itself may be on a
// tmpfs.
func isMountpoint(dir string) (bool, error) {
	var at, above unix.Stat_t
	if err := unix.Lstat(dir, &at); err != nil {
		return false, err
	}
	if err := unix.Lstat(filepath.Dir(dir), &above); err != nil {
		return false, err
	}
	return at.Dev != above.Dev, nil
}

// roundUp rounds up to whole pages, as the kernel does.
func roundUp(bytes int64) int64 {
	page := int64(os.Getpagesize())
	return (bytes + page - 1) / page * page
}

// unmount detaches the mount at path. It returns nil if nothing is mounted there.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

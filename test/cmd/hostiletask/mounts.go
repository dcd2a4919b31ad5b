package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts returns the attempts to change mounts, or to leave the root.
func mounts() []attempt {
	mount := func(source, fstype string, flags uintptr) func(options) error {
		return func(options) error {
			at, err := os.MkdirTemp(writable(), "mount")
			if err != nil {
				return err
			}
			return unix.Mount(source, at, fstype, flags, "")
		}
	}
	return []attempt{
		{"mount/tmpfs", mount("none", "tmpfs", 0)},
		{"mount/proc", mount("proc", "proc", 0)},
		{"mount/sysfs", mount("sysfs", "sysfs", 0)},
		{"mount/cgroup", mount("none", "cgroup2", 0)},
		{"mount/bind", mount("/", "", unix.MS_BIND)},
		{"mount/remount", func(options) error { return onMounts(remount) }},
		{"mount/unmount", func(options) error {
			return onMounts(func(at string) error { return unix.Unmount(at, unix.MNT_DETACH) })
		}},
		{"mount/propagate", func(options) error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") }},
		{"mount/clone_tree", func(options) error { return cloneTree() }},
		{"mount/move_tree", func(options) error {
			return unlessInvalid(unix.MoveMount(-1, "/proc/sys", -1, writable(), 0))
		}},
		with("mount/fsopen", unix.SYS_FSOPEN, []uintptr{text("tmpfs"), 0}),
		with("mount/fspick", unix.SYS_FSPICK, []uintptr{minus(100), text("/proc"), 0}),
		{"mount/set_attributes", func(options) error {
			return unlessInvalid(unix.MountSetattr(unix.AT_FDCWD, "/proc/sys", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
		}},
		{"mount/pivot_root", func(options) error {
			return unlessInvalid(unix.PivotRoot(".", "."))
		}},
		{"mount/leave_chroot", leaveChroot},
	}
}

// unlessInvalid drops errors that the kernel returns only after its permission check.
func unlessInvalid(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// writable returns a directory that every user of the pod may write to.
func writable() string {
	for _, dir := range []string{"/alloc/data", "/alloc/tmp", "/local", "/tmp", "/dev/shm"} {
		if unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return "/"
}

// onMounts returns nil if the attempt succeeded on a read-only mount or a mount that hides
// something.
func onMounts(try func(at string) error) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var tries []func() error
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || !strings.HasPrefix(fields[5], "ro") {
			continue
		}
		tries = append(tries, func() error {
			if err := try(fields[4]); err != nil {
				return err
			}
			return reached(fields[4])
		})
	}
	return anyOf(tries...)
}

func remount(at string) error { return unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND, "") }

func cloneTree() error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// leaveChroot is the classic escape from a chroot: keep a directory outside of the new root and
// climb from there. In a mount namespace with its own root, nothing is above.
func leaveChroot(o options) error {
	keep, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(writable(), "chroot")
	if err != nil {
		return err
	}
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := unix.Fchdir(keep); err != nil {
		return err
	}
	for range 64 {
		if err := unix.Chdir(".."); err != nil {
			return err
		}
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return opensAny(o.hostPaths)
}

// opensAny opens the paths of a list until one succeeds, and returns that one as reached.
func opensAny(paths []string) error {
	err := errAbsent
	for _, path := range paths {
		if err = opens(path, unix.O_RDONLY); err == nil {
			return reached(path)
		}
	}
	return err
}

// climbs returns paths that climb from directories mounted from the host to a path of the host.
func climbs(path string) []string {
	up := strings.Repeat("../", 32)
	all := []string{path}
	for _, from := range []string{"/alloc", "/alloc/data", "/alloc/logs", "/local", "/secrets", "/dev/shm", "/proc/self/cwd", "/proc/self/root", "/proc/1/root", "/proc/1/cwd"} {
		all = append(all, from+"/"+up+strings.TrimPrefix(path, "/"))
	}
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range found {
		for _, link := range []string{"root", "cwd"} {
			all = append(all, fmt.Sprintf("%s/%s%s", dir, link, path))
		}
		open, _ := filepath.Glob(dir + "/fd/*")
		for _, fd := range open {
			all = append(all, fd+path, fd+"/"+up+strings.TrimPrefix(path, "/"))
		}
	}
	return all
}

package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// mount mounts an opened directory or file at a path with the ids of the namespace.
func (u *users) mount(f *os.File, at string) error {
	ns, err := os.Open(filepath.Join(u.dir, string(namespace.User)))
	if err != nil {
		return err
	}
	defer ns.Close()
	err = userns.Mount(f, ns, at, true)
	if errors.Is(err, userns.ErrNoIDMap) {
		return fmt.Errorf("%w: %w, which userns = \"auto\" needs", ErrInvalid, err)
	}
	return err
}

// mapMounts replaces the bind mounts of files of the host by mounts with the ids of the task's user
// namespace. Mounts of the root's own files have them already.
func (c *Container) mapMounts(t *Task, root *rootfs) error {
	if t.users == nil {
		return nil
	}
	n := 0
	for _, list := range []*[]ocispec.Mount{&root.mounts, &t.Mounts} {
		*list = slices.Clone(*list)
		for i, m := range *list {
			if m.Type != "bind" || strings.HasPrefix(m.Source, root.hostPath+"/") {
				continue
			}
			if m.Propagates() {
				return mistakef("mount at %s: mounts do not propagate to or from a user namespace; leave the propagation out, or set userns = \"host\"", m.Target)
			}
			at := filepath.Join(c.stageDir(), "host-"+strconv.Itoa(n))
			if err := c.mapMount(t.users, m.Source, at); err != nil {
				return fmt.Errorf("mount at %s: %w", m.Target, err)
			}
			(*list)[i].Source = at
			n++
		}
	}
	return nil
}

func (c *Container) mapMount(u *users, source, at string) error {
	f, err := os.OpenFile(source, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = c.m.checkpoint("make stage", func() error { return makePoint(at, info.IsDir()) })
	}
	if err != nil {
		return err
	}
	return c.m.checkpoint("mount on stage", func() error { return u.mount(f, at) })
}

// lowerPoint is the mount point of the lower layer of a root made of host paths.
func (c *Container) lowerPoint() string { return filepath.Join(c.dir, "lower") }

// mapLower returns the lower layer with the ids of the namespace, and gives upper to its root.
func (c *Container) mapLower(u *users, lower, upper string) (string, error) {
	if u == nil {
		return lower, nil
	}
	if err := errors.Join(os.Chown(upper, int(u.First), int(u.First)), c.mapMount(u, lower, c.lowerPoint())); err != nil {
		return "", err
	}
	return c.lowerPoint(), nil
}

// usersRoot is the mount point of a container's root for a runtime in a user namespace, which cannot
// enter RunDir and DataDir. Only the host's root and the pod's group can enter its parent.
func (m *Manager) usersRoot(id string) string {
	return filepath.Join(UsersRoots(m.cfg.RunDir), id, "root")
}

// UsersRoots returns the directory below which the roots of pods with a user namespace are mounted.
// All users must be able to enter it.
func UsersRoots(runDir string) string { return filepath.Clean(runDir) + "-roots" }

// makeUsersRoot creates usersRoot as an empty directory of the namespace's root.
func (m *Manager) makeUsersRoot(u *users, id string) (string, error) {
	at, first := m.usersRoot(id), int(u.First)
	parent := filepath.Dir(at)
	top := filepath.Dir(parent)
	return at, errors.Join(
		os.MkdirAll(top, 0o711), os.Chmod(top, 0o711), // override the umask
		os.MkdirAll(parent, 0o700), os.Chown(parent, 0, first), os.Chmod(parent, 0o710),
		os.MkdirAll(at, 0o755), os.Chown(at, first, first),
	)
}

// removeUsersRoot removes usersRoot, if it exists, but nothing that is mounted there.
func (m *Manager) removeUsersRoot(id string) error {
	at := m.usersRoot(id)
	if err := unmount(at); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(at)); err != nil {
		return fmt.Errorf("remove root: %w", err)
	}
	return nil
}

// stageRootOf mounts a root at usersRoot.
func (c *Container) stageRootOf(u *users, root string) (string, error) {
	at, err := c.m.makeUsersRoot(u, c.id)
	if err == nil {
		err = c.m.checkpoint("mount root on itself", func() error { return unix.Mount(root, at, "", unix.MS_BIND, "") })
	}
	if err != nil {
		return "", fmt.Errorf("bind %s: %w", root, err)
	}
	return at, nil
}

// sysOf returns the mount point of a task's sysfs, or "" if the runtime can mount one.
func (u *users) sysOf(taskDir string, n Network) string {
	if u == nil || n.None {
		return ""
	}
	return filepath.Join(taskDir, "stage", "sys")
}

// stageSys mounts the sysfs of a network namespace that the task's user namespace does not own: the
// runtime could not.
func (u *users) stageSys(stage string, n Network) error {
	if u == nil || n.None {
		return nil
	}
	return mountSys(filepath.Join(stage, "sys"), n.NamespaceHostPath)
}

// mountSys mounts the sysfs of the network namespace at a path, or of the host's if it is empty.
func mountSys(at, network string) error {
	mount := func() error {
		return unix.Mount("sysfs", at, "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	err := makePoint(at, true)
	switch {
	case err == nil && network == "":
		err = mount()
	case err == nil:
		err = namespace.InNetwork(network, mount)
	}
	if err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	return nil
}

// stage mounts the root and the sysfs of a debug container for a runtime in a user namespace.
func (b *debugContainer) stage(u *users, root string) (string, error) {
	at, err := b.task.m.makeUsersRoot(u, b.id)
	if err == nil {
		err = unix.Mount(root, at, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = mountSys(b.sysPath(u), fmt.Sprintf("/proc/%d/ns/net", b.task.state.Init.PID))
	}
	return at, err
}

func (b *debugContainer) unstage() error {
	return errors.Join(unmount(b.task.m.usersRoot(b.id)), unmount(filepath.Join(b.dir, "sys")))
}

// sysPath is the mount point of the sysfs, or "" if the runtime can mount one.
func (b *debugContainer) sysPath(u *users) string {
	if u == nil {
		return ""
	}
	return filepath.Join(b.dir, "sys")
}

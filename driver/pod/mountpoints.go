package pod

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/moby/sys/mountinfo"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// checkMountpoints returns an error if a mount of the task in a created container is at
// one of runtimePaths. The runtime follows symbolic links in a target below another
// mount, and tasks can create links there at any time.
func (c *Container) checkMountpoints(t Task) error {
	if t.Privileged {
		return nil
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", c.state.Init.PID))
	if err != nil {
		return fmt.Errorf("read mounts of the container: %w", err)
	}
	mounts, err := mountinfo.GetMountsFromReader(file, nil)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("mounts of the container: %w", err)
	}
	for _, m := range mounts {
		if isRuntimePath(m.Mountpoint) && !ofRuntime(m) {
			return fmt.Errorf("%w: a mount of the task covers the runtime's %s; a symbolic link below another mount leads there", ErrInvalid, m.Mountpoint)
		}
	}
	return nil
}

// ofRuntime reports whether the runtime made the mount.
func ofRuntime(m *mountinfo.Info) bool {
	if m.FSType == "devtmpfs" && m.Mountpoint == path.Join("/dev", m.Root) {
		return true // in a user namespace runtimes bind the host's devices
	}
	if m.Mountpoint == "/dev" || m.Mountpoint == "/sys/fs/cgroup" { // the latter on cgroup v1
		return slices.Contains([]string{"tmpfs", "cgroup2"}, m.FSType)
	}
	kernel := []string{"proc", "sysfs", "cgroup", "cgroup2", "devpts"}
	return slices.Contains(kernel, m.FSType) || ocispec.Covered(m.Mountpoint)
}

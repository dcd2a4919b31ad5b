package pod

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices stats each device and returns its node and the cgroup rule that allows
// the task to use it.
func devices(list []Device) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var nodes []specs.LinuxDevice
	var rules []specs.LinuxDeviceCgroup
	for _, d := range list {
		var st unix.Stat_t
		if err := unix.Stat(d.HostPath, &st); err != nil {
			return nil, nil, fmt.Errorf("device %s: %w", d.HostPath, err)
		}
		kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[st.Mode&unix.S_IFMT]
		if kind == "" {
			return nil, nil, fmt.Errorf("%w: device %s is not a device", ErrInvalid, d.HostPath)
		}
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		mode := os.FileMode(st.Mode & 0o777)
		nodes = append(nodes, specs.LinuxDevice{Path: firstOf(d.TaskPath, d.HostPath), Type: kind,
			Major: major, Minor: minor, FileMode: &mode, UID: &st.Uid, GID: &st.Gid})
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor,
			Access: firstOf(d.Permissions, "rwm")})
	}
	return nodes, rules, nil
}

// checkTarget refuses a device in place of a file of the runtime, and one in a mount: the runtime
// would create the device in the mount's source. There it stays after the task, and processes of
// the host can open it, to which the rules of the task's cgroup do not apply.
func (d Device) checkTarget(mounted []string, resolve func(target string) (string, error)) error {
	target := firstOf(d.TaskPath, d.HostPath)
	at, err := resolve(target)
	if err != nil {
		return fmt.Errorf("device at %s: %w", target, err)
	}
	if isRuntimePath(at) && at != d.HostPath {
		return fmt.Errorf("%w: device at %s: %s is the runtime's; use another container_path", ErrInvalid, target, at)
	}
	for _, m := range mounted {
		if at == m || strings.HasPrefix(at, strings.TrimSuffix(m, "/")+"/") {
			return fmt.Errorf("%w: device at %s: the task has a mount at %s; use a container_path outside of mounts, such as below /dev", ErrInvalid, target, m)
		}
	}
	return nil
}

// hostDevices lists the devices below a directory of the host. It skips terminals
// and other mounted file systems, since each container has its own.
func hostDevices(dir string) ([]Device, error) {
	own := map[string]bool{"console": true, "tty": true, "ptmx": true, "pts": true, "shm": true, "mqueue": true,
		"fd": true, "null": true, "zero": true, "full": true, "random": true, "urandom": true}
	var out []Device
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err): // removed since it was listed
			return nil
		case err != nil:
			return err
		case filepath.Dir(path) == dir && own[e.Name()] && e.IsDir():
			return fs.SkipDir
		case filepath.Dir(path) == dir && own[e.Name()], e.Type()&fs.ModeDevice == 0:
			return nil
		}
		out = append(out, Device{HostPath: path})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list host devices: %w", err)
	}
	return out, nil
}

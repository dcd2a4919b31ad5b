package ocispec

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// standardMounts returns the runtime-spec's default file systems (config-linux.md),
// except at targets of the container's own mounts.
func standardMounts(c Container) []specs.Mount {
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		sysfs(c),
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access(c)}},
	}
	return slices.DeleteFunc(all, func(m specs.Mount) bool {
		return slices.ContainsFunc(c.Mounts, func(own Mount) bool { return own.Target == m.Destination })
	})
}

// sysfs returns a new mount, since the host's /sys includes mounts of the host below it,
// such as debugfs, which "ro" does not affect. Only an unconfined container in the host's
// network gets the host's /sys: a new sysfs would be read-only as long as another task has
// one mounted read-only. The bind mount is private, since the runtime's mounts below it
// would otherwise appear on the host if a volume of the task makes its root shared.
func sysfs(c Container) specs.Mount {
	own := slices.ContainsFunc(c.Namespaces, func(n Namespace) bool { return n.Kind == specs.NetworkNamespace })
	if c.SysHostPath != "" {
		return specs.Mount{Destination: "/sys", Type: "bind", Source: c.SysHostPath, Options: []string{"bind", "nosuid", "noexec", "nodev", access(c), "rprivate"}}
	}
	if c.Unconfined && !own {
		return specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "rw", "rprivate"}}
	}
	return specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access(c)}}
}

// access returns the mount option for /sys.
func access(c Container) string {
	if c.Unconfined {
		return "rw"
	}
	return "ro"
}

// Covered reports whether a runtime mounts something over a path of the kernel
// to hide it or to make it read-only.
func Covered(path string) bool {
	return slices.Contains(maskedPaths(), path) || slices.Contains(readonlyPaths(), path)
}

// maskedPaths lists kernel files that reveal or disturb the host, as masked by docker and
// podman.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// readonlyPaths lists paths that are visible but not writable.
func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// defaultDeviceRules deny every device and then allow the default devices of the
// runtime-spec (config-linux.md) and terminals. Creating a device node is allowed, using
// it is not.
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	const any = -1
	for _, d := range [][2]int64{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, // tty, console, ptmx
		{136, any}, // pts
	} {
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d[0], Minor: &d[1], Access: "rwm"}
		if d[1] == any {
			rule.Minor = nil
		}
		rules = append(rules, rule)
	}
	return rules
}

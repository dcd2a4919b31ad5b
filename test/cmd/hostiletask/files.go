package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// files returns the attempts on files of the host, of other allocations and of Nomad.
func files() []attempt {
	logs := func(name string, try func(dir string) error) attempt {
		return attempt{"logs/" + name, func(options) error { return try("/alloc/logs") }}
	}
	return []attempt{
		{"host/paths", func(o options) error { return onPaths(o, opensAny) }},
		{"host/services", func(options) error {
			return opensAny([]string{"/run/dbus/system_bus_socket", "/run/systemd/private", "/var/run/docker.sock", "/run/docker.sock",
				"/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crun", "/run/runc", "/run/initctl", "/dev/initctl", "/dev/log"})
		}},
		{"host/sockets_and_pipes", func(options) error { return endpoints() }},
		{"host/programs_written", func(options) error { return readOnlyMountsWritten() }},
		{"host/core_pattern", func(options) error { return rewrite("/proc/sys/kernel/core_pattern") }},
		{"proc/written", func(options) error { return opensForWriting("/proc") }},
		{"proc/masked", func(options) error { return masked() }},
		{"sys/written", func(options) error { return opensForWriting("/sys") }},
		{"cgroup/made", func(options) error { return makesBelow("/sys/fs/cgroup") }},
		{"device/used", func(options) error { return devices() }},
		logs("create", func(dir string) error { return os.WriteFile(dir+"/hostile", nil, 0o644) }),
		logs("link", func(dir string) error { return os.Symlink("/etc/passwd", dir+"/hostile") }),
		logs("hard_link", func(dir string) error { return linked(dir) }),
		logs("pipe", func(dir string) error { return unix.Mkfifo(dir+"/hostile", 0o666) }),
		logs("rename", func(dir string) error { return os.Rename(dir, dir+".moved") }),
		logs("exchange", func(dir string) error { return exchanged(dir) }),
		logs("mode", func(dir string) error { return os.Chmod(dir, 0o777) }),
		logs("times", func(dir string) error { return os.Chtimes(dir, time.Now(), time.Now()) }),
		logs("attribute", func(dir string) error { return unix.Setxattr(dir, "user.hostile", []byte("x"), 0) }),
		logs("by_descriptor", byDescriptor),
	}
}

func onPaths(o options, try func([]string) error) error {
	var all []string
	for _, path := range o.hostPaths {
		all = append(all, climbs(path)...)
	}
	return try(all)
}

func linked(dir string) error {
	file := filepath.Join(writable(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return os.Link(file, dir+"/hostile")
}

func exchanged(dir string) error {
	other, err := os.MkdirTemp(writable(), "logs")
	if err != nil {
		return err
	}
	return unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
}

func byDescriptor(dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/hostile", fd), nil, 0o644)
}

// walkBound bounds the number of files to try below /sys, which may have hundreds of thousands.
const walkBound = 60000

// below calls try for each file below a directory until one succeeds. It skips processes and
// files that another call covers.
func below(top string, try func(path string, d fs.DirEntry) error) error {
	err, seen := errAbsent, 0
	walk := filepath.WalkDir(top, func(path string, d fs.DirEntry, werr error) error {
		if werr != nil {
			return nil
		}
		if top == "/proc" && d.IsDir() && filepath.Dir(path) == top && (number(d.Name()) > 0 || strings.HasSuffix(d.Name(), "self")) {
			return fs.SkipDir
		}
		if path == "/proc/pressure" {
			return fs.SkipDir // a trigger written there belongs to its writer and ends with the descriptor
		}
		if seen++; seen > walkBound {
			return fs.SkipAll
		}
		if terr := try(path, d); terr == nil {
			err = reached(path)
			return fs.SkipAll
		} else if !errors.Is(terr, errAbsent) {
			err = terr
		}
		return nil
	})
	return errors.Join(walk, err)
}

func opensForWriting(top string) error {
	return below(top, func(path string, d fs.DirEntry) error {
		if slices.Contains([]string{"/proc/exitcode", "/proc/mconsole", "/proc/sysemu"}, path) {
			return errAbsent // only user-mode-linux has these files
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o222 == 0 {
			return errAbsent // root can open but not write them
		}
		return opensToWrite(path)
	})
}

// opensToWrite opens a file for writing, except devices that hide other files.
func opensToWrite(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errAbsent
	}
	return opens(path, unix.O_WRONLY)
}

func makesBelow(top string) error {
	return below(top, func(path string, d fs.DirEntry) error {
		var at unix.Statfs_t
		if !d.IsDir() || unix.Statfs(path, &at) != nil || at.Type != unix.CGROUP_SUPER_MAGIC && at.Type != unix.CGROUP2_SUPER_MAGIC {
			return errAbsent
		}
		if err := os.Mkdir(path+"/hostile", 0o755); err != nil {
			return err
		}
		return os.Remove(path + "/hostile")
	})
}

// masked reads files with information about the host. A hidden file is empty.
func masked() error {
	var tries []func() error
	for _, path := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts", "/proc/latency_stats", "/proc/acpi", "/proc/scsi", "/sys/firmware"} {
		tries = append(tries, func() error {
			if hidden(path) {
				return fmt.Errorf("%s is hidden: %w", path, unix.EACCES)
			}
			return reached(path)
		})
	}
	return anyOf(tries...)
}

func hidden(path string) bool {
	if entries, err := os.ReadDir(path); err == nil {
		return len(entries) == 0
	}
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 1))
	return n == 0 || err != nil
}

// devices creates and opens a node for each major number of the kernel's drivers, except for the
// devices of every container.
func devices() error {
	b, err := os.ReadFile("/proc/devices")
	if err != nil {
		return err
	}
	node := filepath.Join(nodeDir(), "node")
	defer os.Remove(node)
	mode, err := uint32(unix.S_IFCHR), errAbsent
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "Block") {
			mode = unix.S_IFBLK
		}
		fields := strings.Fields(line)
		if len(fields) != 2 || number(fields[0]) < 1 {
			continue
		}
		for minor := range uint32(16) {
			if mode == unix.S_IFCHR && usual(number(fields[0]), minor) {
				continue
			}
			if err = useNode(node, mode, unix.Mkdev(uint32(number(fields[0])), minor)); err == nil {
				return reached(fmt.Sprintf("%s %d", fields[1], minor))
			}
		}
	}
	return err
}

// nodeDir returns a directory in which device nodes can be opened: /alloc and /local are mounted
// nodev.
func nodeDir() string {
	for _, dir := range []string{"/dev", "/tmp", "/"} {
		if unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return writable()
}

func usual(major int, minor uint32) bool {
	switch major {
	case 1:
		return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9
	case 5:
		return minor <= 2
	}
	return major >= 136 && major <= 143
}

// useNode treats the error of a driver without a device as success: the node was used.
func useNode(path string, mode uint32, device uint64) error {
	_ = os.Remove(path)
	if err := unix.Mknod(path, mode|0o666, int(device)); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	err := opens(path, unix.O_RDONLY)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// readOnlyMountsWritten tries to change files of read-only mounts.
func readOnlyMountsWritten() error {
	return onMounts(func(at string) error {
		return anyOf(
			func() error { return os.WriteFile(filepath.Join(at, "hostile"), nil, 0o644) },
			func() error { return opensToWrite(at) },
			func() error { return os.Chtimes(at, time.Now(), time.Now()) },
			func() error { return os.Chmod(at, 0o777) },
		)
	})
}

// endpoints connects to sockets and opens FIFOs in the root, except those that tests have put
// into the host's program directories.
func endpoints() error {
	return below("/", func(path string, d fs.DirEntry) error {
		for _, skip := range []string{"/proc/", "/sys/", "/usr/", "/lib/", "/lib64/", "/bin/", "/sbin/"} {
			if strings.HasPrefix(path, skip) {
				return errAbsent
			}
		}
		switch d.Type() {
		case fs.ModeNamedPipe:
			return opens(path, unix.O_RDWR)
		case fs.ModeSocket:
			return connects(path)
		}
		return errAbsent
	})
}

func connects(address string) error {
	for _, kind := range []string{"unix", "unixgram", "unixpacket"} {
		conn, err := net.DialTimeout(kind, address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if kind == "unixpacket" {
			return err
		}
	}
	return nil
}

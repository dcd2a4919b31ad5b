package leakcheck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

func (Scope) mounts(snap Snapshot) error {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range infos {
		// A network namespace is recorded by its file below. The directory of these files is
		// bind-mounted on itself, permanently, by the first user.
		if m.FSType == "nsfs" && strings.HasPrefix(m.Root, "net:") || m.Mountpoint == netnsDir {
			continue
		}
		snap[Entry{Mount, fmt.Sprintf("%s (%s %s)", m.Mountpoint, m.FSType, m.Source)}]++
	}
	return nil
}

// MountsBelow returns the mount points in a directory, including the directory itself. Tests of
// packages that run in parallel use it to ignore each other's mounts.
func MountsBelow(t testing.TB, dir string) []string {
	t.Helper()
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		t.Fatalf("read mounts: %v", err)
	}
	var points []string
	for _, info := range infos {
		points = append(points, info.Mountpoint)
	}
	return points
}

const netnsDir = "/run/netns"

func (Scope) netns(snap Snapshot) error {
	entries, err := os.ReadDir(netnsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read network namespaces: %w", err)
	}
	for _, e := range entries {
		snap[Entry{Netns, e.Name()}]++
	}
	return nil
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroups records the directories below the named top-level ones, in each v1 hierarchy or the
// one of v2. The top-level directories themselves belong to an agent, as do its partitions.
func (s Scope) cgroups(snap Snapshot) error {
	for _, name := range s.Cgroups {
		tops, err := filepath.Glob(filepath.Join(cgroupRoot, "*", name))
		if err != nil {
			return fmt.Errorf("cgroup name %q: %w", name, err)
		}
		for _, top := range append(tops, filepath.Join(cgroupRoot, name)) {
			err := walk(top, func(path string, dir fs.DirEntry) {
				if dir.IsDir() && path != top && !partition(path) {
					snap[Entry{Cgroup, path}]++
				}
			})
			if err != nil {
				return fmt.Errorf("read cgroups: %w", err)
			}
		}
	}
	return nil
}

// partition reports whether path is one of Nomad's directories for shared and reserved cores.
func partition(path string) bool {
	return slices.Contains([]string{"share", "reserve", "share.slice", "reserve.slice"}, filepath.Base(path))
}

func (s Scope) files(snap Snapshot) error {
	for _, top := range s.Dirs {
		err := walk(top, func(path string, _ fs.DirEntry) {
			if path != top {
				snap[Entry{File, path}]++
			}
		})
		if err != nil {
			return fmt.Errorf("read files: %w", err)
		}
	}
	return nil
}

// walk visits a tree that may change meanwhile.
func walk(top string, visit func(path string, d fs.DirEntry)) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		visit(path, d)
		return nil
	})
}

func (s Scope) processes(snap Snapshot) error {
	all, err := procfs.AllProcs()
	if err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	stats := map[int]procfs.ProcStat{}
	for _, p := range all {
		// A process that has exited is not in use.
		if stat, err := p.Stat(); err == nil {
			stats[p.PID] = stat
		}
	}
	self := os.Getpid()
	for pid, stat := range stats {
		if pid == self || kernel(stat) || !s.counts(stats, pid, self) || sandboxed(pid) {
			continue
		}
		snap[Entry{Process, describe(stat)}]++
	}
	return nil
}

// kernel reports whether a process is a kernel thread, that is a child of kthreadd (2).
func kernel(stat procfs.ProcStat) bool {
	return stat.PPID == 2 && stat.VSize == 0 || stat.PID == 2 && stat.Comm == "kthreadd"
}

// sandboxed reports whether a process runs in a sandbox other than this one.
func sandboxed(pid int) bool {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && strings.Contains(string(groups), "/"+sandbox.CgroupPrefix)
}

func (s Scope) counts(stats map[int]procfs.ProcStat, pid, self int) bool {
	if s.Programs == nil || slices.Contains(s.Programs, stats[pid].Comm) {
		return true
	}
	for pid != 0 && pid != self {
		pid = stats[pid].PPID
	}
	return pid == self
}

// describe names a process so that a later one with the same PID differs.
func describe(stat procfs.ProcStat) string {
	command := stat.Comm
	if p, err := procfs.NewProc(stat.PID); err == nil {
		if args, err := p.CmdLine(); err == nil && len(args) > 0 {
			command = strings.Join(args, " ")
		}
	}
	if stat.State == "Z" {
		command = "defunct " + stat.Comm
	}
	return fmt.Sprintf("%d (started at tick %d, child of %d): %s", stat.PID, stat.Starttime, stat.PPID, command)
}

func (Scope) descriptors(snap Snapshot) error {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read descriptors: %w", err)
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || own(target) {
			continue
		}
		snap[Entry{Descriptor, target}]++
	}
	return nil
}

// own reports whether target is a descriptor of the snapshot itself, or of the runtime's
// network poller, which is created once and kept.
func own(target string) bool {
	return target == "/proc/"+strconv.Itoa(os.Getpid())+"/fd" ||
		strings.HasPrefix(target, "anon_inode:[eventpoll]") ||
		strings.HasPrefix(target, "anon_inode:[eventfd]")
}

// Running returns the number of processes with the word in their command line.
func Running(t testing.TB, word string) (count int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must.NoError(t, err)
	for _, file := range files {
		text, _ := os.ReadFile(file) // missing if the process has exited
		if strings.Contains(string(text), word) {
			count++
		}
	}
	return count
}

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of a group that no OCI runtime sets. Zero means none.
type Limits struct {
	Memory    int64 // bytes; there is no swap in addition
	Processes int64
	CPUShares uint64 // of cgroup v1
}

// v1Limited lists the v1 hierarchies of a group with Limits: for placement, limits and statistics.
var v1Limited = append([]string{"cpuacct"}, v1Placement...)

// Files creates the group and returns the files that take a process into it.
func (g Group) Files() ([]string, error) {
	if err := g.refuseRoot(); err != nil {
		return nil, err
	}
	dirs := []string{filepath.Join(Root, g.path)}
	if g.version == V2 {
		if err := g.delegate(); err != nil {
			return nil, err
		}
	} else {
		dirs = dirs[:0]
		for _, c := range v1Limited {
			if _, err := os.Stat(filepath.Join(Root, c)); err == nil {
				dirs = append(dirs, filepath.Join(Root, c, g.path))
			}
		}
	}
	var files []string
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
		files = append(files, filepath.Join(dir, "cgroup.procs"))
	}
	return files, nil
}

// delegate enables the controllers of Limits in all groups above this one.
func (g Group) delegate() error {
	dir := Root
	for _, name := range strings.Split(strings.Trim(filepath.Dir(g.path), "/"), "/") {
		for _, at := range []string{dir, filepath.Join(dir, name)} {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
			err := os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0)
			if err != nil {
				return fmt.Errorf("enable controllers: %w", err)
			}
		}
		dir = filepath.Join(dir, name)
	}
	return nil
}

// maxCPUShares is the maximum of cpu.shares and minCPUShares the minimum.
const minCPUShares, maxCPUShares = 2, 262144

// Limit sets the limits of a group that exists. A memory limit below the group's usage makes the
// kernel reclaim memory, and the call fails if that is not possible on v1.
func (g Group) Limit(l Limits) error {
	shares := min(max(l.CPUShares, minCPUShares), maxCPUShares)
	if g.version == V2 {
		return errors.Join(
			g.write("", "memory.max", orMax(l.Memory)), optional(g.write("", "memory.swap.max", "0")),
			g.write("", "pids.max", orMax(l.Processes)),
			g.write("", "cpu.weight", fmt.Sprint(1+(shares-minCPUShares)*9999/(maxCPUShares-minCPUShares))),
		)
	}
	memory := "-1"
	if l.Memory > 0 {
		memory = strconv.FormatInt(l.Memory, 10)
	}
	// The limit of memory and swap together must never be below the limit of memory.
	err := optional(g.write("memory", "memory.memsw.limit_in_bytes", "-1"))
	if err == nil {
		err = g.write("memory", "memory.limit_in_bytes", memory)
	}
	return errors.Join(err, optional(g.write("memory", "memory.memsw.limit_in_bytes", memory)),
		g.write("pids", "pids.max", orMax(l.Processes)), g.write("cpu", "cpu.shares", fmt.Sprint(shares)))
}

func orMax(n int64) string {
	if n <= 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func (g Group) write(controller, name, value string) error {
	file := filepath.Join(Root, controller, g.path, name)
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	return nil
}

// optional ignores the error of a file that a kernel without accounting of swap lacks.
func optional(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Cpuset names a group in the cpuset hierarchy of v1, where Nomad's group for all
// tasks is separate from the task's group in the other hierarchies. The zero value
// names no group.
type Cpuset struct{ path string }

// CpusetAt returns the group at a path of the host. It returns the zero value for a path
// outside the v1 hierarchy: on v2 the task's own group sets its processors.
func CpusetAt(v Version, hostPath string) Cpuset {
	path, ok := strings.CutPrefix(hostPath, filepath.Join(Root, "cpuset")+"/")
	if v == V2 || !ok {
		return Cpuset{}
	}
	return Cpuset{filepath.Join("/", path)}
}

// Path returns the group's path from the root of the hierarchy, or "" for none.
func (c Cpuset) Path() string { return c.path }

func (c Cpuset) file(name string) string { return filepath.Join(Root, "cpuset", c.path, name) }

// Procs returns the file that takes a process into the group.
func (c Cpuset) Procs() string { return c.file("cgroup.procs") }

// CPUs returns the group's current processors, such as "0-2,7", or "" for none. It
// returns an error if the group has no processors.
func (c Cpuset) CPUs() (string, error) {
	if c.path == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.file("cpuset.cpus"))
	if err != nil {
		return "", fmt.Errorf("processors of cgroup %s: %w", c.path, err)
	}
	cpus := strings.TrimSpace(string(b))
	if cpus == "" {
		return "", fmt.Errorf("cgroup %s has no processor: tasks with resources { cores } have reserved all of them", c.path)
	}
	return cpus, nil
}

// Add moves a process to the group, only in the cpuset hierarchy. It then follows
// changes of the group's processors.
func (c Cpuset) Add(pid int) error {
	if c.path == "" {
		return nil
	}
	if err := os.WriteFile(c.file("cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		return fmt.Errorf("move process %d to cgroup %s of cpuset: %w", pid, c.path, err)
	}
	return nil
}

// CopyTo assigns the current processors to a task's own group, for processes started
// there.
func (c Cpuset) CopyTo(g Group) error {
	cpus, err := c.CPUs()
	if err != nil || cpus == "" {
		return err
	}
	err = os.WriteFile(filepath.Join(Root, "cpuset", g.path, "cpuset.cpus"), []byte(cpus), 0)
	if err != nil && !gone(err) {
		return fmt.Errorf("processors of cgroup %s: %w", g.path, err)
	}
	return nil
}

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Cpuset names a group in the cpuset hierarchy of v1, where what Nomad makes
// for all tasks is apart from the group that a task has in the others. The
// zero value is none.
type Cpuset struct{ path string }

// CpusetAt names the group at a path of the host. One that is not in the
// hierarchy of v1 is none: on v2 a task's group has its processors itself.
func CpusetAt(v Version, hostPath string) Cpuset {
	path, ok := strings.CutPrefix(hostPath, filepath.Join(Root, "cpuset")+"/")
	if v == V2 || !ok {
		return Cpuset{}
	}
	return Cpuset{filepath.Join("/", path)}
}

// Path is the group's path from the root of the hierarchy, or empty for none.
func (c Cpuset) Path() string { return c.path }

func (c Cpuset) file(name string) string { return filepath.Join(Root, "cpuset", c.path, name) }

// CPUs lists the processors of the group now, such as "0-2,7"; of none it is
// empty. An error says that there are none left.
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
		return "", fmt.Errorf("no processor is left in cgroup %s: tasks with cores have reserved all of them", c.path)
	}
	return cpus, nil
}

// Add moves a process to the group, and leaves it where it is in all other
// hierarchies. It then follows as the group's processors change.
func (c Cpuset) Add(pid int) error {
	if c.path == "" {
		return nil
	}
	if err := os.WriteFile(c.file("cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		return fmt.Errorf("move process %d to cgroup %s of cpuset: %w", pid, c.path, err)
	}
	return nil
}

// CopyTo gives a task's own group the processors that this one has now, for
// what will be started in it.
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

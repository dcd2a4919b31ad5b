// Package podtask tells which Nomad task the processes of a pod belong to, as
// seen from one of its tasks that shares the PID namespace.
//
// It asks neither Nomad nor the driver, needs no right beyond seeing /proc,
// and does not say what a process is to its task.
package podtask

import (
	"regexp"
	"strings"

	"github.com/prometheus/procfs"
)

// Pod stands for the pod itself: the process that holds its PID namespace
// and belongs to no task.
const Pod = "(pod)"

// podInit is the program that holds a pod's PID namespace, as process 1.
const podInit = "catatonit"

// Clues is what /proc tells about one process that helps to find its task.
type Clues struct {
	Name    string   // comm
	Parent  int      // PID, 0 for none in this namespace
	Cgroups []string // paths, one per hierarchy, as the reader's cgroup namespace shows them
	Environ []string // nil where it may not be read
}

// Read gathers the clues about a process. What may not be read is missing.
func Read(proc procfs.Proc, stat procfs.ProcStat) Clues {
	c := Clues{Name: stat.Comm, Parent: stat.PPID}
	if cgroups, err := proc.Cgroups(); err == nil {
		for _, cgroup := range cgroups {
			c.Cgroups = append(c.Cgroups, cgroup.Path)
		}
	}
	c.Environ, _ = proc.Environ()
	return c
}

// taskScope is the cgroup that holds one task: Nomad names it
// <alloc id>.<task>.scope (client/lib/cgroupslib); the suffix is optional so
// that v1 hierarchies without it are recognised too.
var taskScope = regexp.MustCompile(`^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(.+?)(?:\.scope)?$`)

// Attribute names the task of each process, "" where nothing tells. Only
// tasks of the given allocation count; an empty allocID accepts any.
//
// The cgroup is asked first: every reader may see it and the process cannot
// change it. The environment can be seen only with the reader's own user and
// no fewer capabilities than the target's (ptrace access), and a process
// chooses the one it gives to its children. A process that neither tells
// about belongs to its parent's task.
func Attribute(procs map[int]Clues, allocID string) map[int]string {
	tasks := make(map[int]string, len(procs))
	for pid, c := range procs {
		tasks[pid] = ownTask(pid, c, allocID)
	}
	for pid := range procs {
		if tasks[pid] == "" {
			tasks[pid] = inheritedTask(pid, procs, tasks)
		}
	}
	return tasks
}

func ownTask(pid int, c Clues, allocID string) string {
	for _, path := range c.Cgroups {
		if task := taskOfCgroup(path, allocID); task != "" {
			return task
		}
	}
	if task := taskOfEnviron(c.Environ, allocID); task != "" {
		return task
	}
	if pid == 1 && c.Name == podInit {
		return Pod
	}
	return ""
}

// taskOfCgroup takes the outermost matching element: what lies below a task's
// own cgroup was named by the task.
func taskOfCgroup(path, allocID string) string {
	for _, element := range strings.Split(path, "/") {
		m := taskScope.FindStringSubmatch(element)
		if m != nil && (allocID == "" || m[1] == allocID) {
			return m[2]
		}
	}
	return ""
}

func taskOfEnviron(environ []string, allocID string) string {
	var task, alloc string
	for _, entry := range environ {
		switch name, value, _ := strings.Cut(entry, "="); name {
		case "NOMAD_TASK_NAME":
			task = value
		case "NOMAD_ALLOC_ID":
			alloc = value
		}
	}
	if allocID != "" && alloc != allocID {
		return ""
	}
	return task
}

// inheritedTask walks up to the nearest ancestor whose task is known. Process
// 1 adopts the orphans of every task, so it passes nothing on. PIDs are read
// one after the other and may have been reused meanwhile: the walk is bounded.
func inheritedTask(pid int, procs map[int]Clues, tasks map[int]string) string {
	for range len(procs) {
		pid = procs[pid].Parent
		if pid <= 1 {
			return ""
		}
		if task := tasks[pid]; task != "" {
			return task
		}
	}
	return ""
}

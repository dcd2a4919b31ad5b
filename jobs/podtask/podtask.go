// Package podtask maps the processes of a pod to Nomad tasks. The reader must be
// a task that shares the PID namespace.
//
// It contacts neither Nomad nor the driver and needs only a readable /proc. It does
// not determine the role of a process within its task.
package podtask

import (
	"regexp"
	"strings"

	"github.com/prometheus/procfs"
)

// Pod is the name for the infra process, which holds the PID namespace and belongs
// to no task.
const Pod = "(pod)"

// podInit is the program name of the infra process, process 1 of the pod.
const podInit = "catatonit"

// Clues is the content of /proc about one process that identifies its task.
type Clues struct {
	Name    string   // comm
	Parent  int      // PID, 0 for none in this namespace
	Cgroups []string // paths, one per hierarchy, as the reader's cgroup namespace shows them
	Environ []string // nil if unreadable
}

// Read gathers the clues about a process. Unreadable ones stay empty.
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

// Attribute returns the task of each process, "" if unknown. Only tasks of allocID
// count; an empty allocID accepts any.
//
// The cgroup takes precedence: every reader may see it and the process cannot
// change it. The environment is readable only with ptrace access (same user, no
// fewer capabilities than the target), and a process chooses the environment of its
// children. A process without either clue belongs to its parent's task.
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

// taskOfCgroup returns the outermost matching element, since a task may create and
// name cgroups below its own.
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

// inheritedTask walks up to the nearest ancestor with a known task. Process 1 adopts
// the orphans of every task, so nothing is inherited from it. PIDs are read one after
// the other and may be reused meanwhile, so the walk is bounded.
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

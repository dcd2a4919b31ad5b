// Package target finds the processes of one task in the PID namespace that a
// pod shares, and signals them.
//
// It signals no process of another task, and none that the signal would end
// because it does not know it. It does not wait for what a process makes of a
// signal.
package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"
)

// runcInit begins the name of what runc has where the task's program is about
// to be. A signal would end it, and the program has read nothing yet.
const runcInit = "runc:["

// Target says which processes are meant.
type Target struct {
	Task    string
	AllocID string // empty: any allocation
	// Process is the name of those that are meant (comm, of which the kernel
	// keeps 15 bytes). Empty is the task's first process.
	Process string
}

// Process is one that was found.
type Process struct {
	PID   int
	Start uint64 // ticks since boot; with the PID it tells a process from a later one
	Name  string
}

// candidate is what decides about a process.
type candidate struct {
	Process
	parent int
	task   string
}

// Find gives the processes that are meant, oldest first. None is no error: the
// task does not run, or not yet.
func (t Target) Find(proc procfs.FS) ([]Process, error) {
	all, err := podprocs.Read(proc, t.AllocID)
	if err != nil {
		return nil, err
	}
	var candidates []candidate
	for _, p := range all {
		stat := p.Stat
		if stat.State == "Z" || stat.State == "X" || strings.HasPrefix(stat.Comm, runcInit) {
			continue
		}
		candidates = append(candidates, candidate{Process{p.PID, stat.Starttime, stat.Comm}, stat.PPID, p.Task})
	}
	return t.choose(candidates)
}

// choose takes the processes that are meant out of all.
//
// The first process of a task is the oldest whose parent is not of the task: a
// session of "nomad alloc exec" has no parent in the pod either, but is
// younger. Of the processes with a name it is those whose parent has another:
// nginx passes on to its workers what it is told.
func (t Target) choose(all []candidate) ([]Process, error) {
	meant := func(c candidate) bool {
		return c.task == t.Task && (t.Process == "" || c.Name == t.Process)
	}
	byPID := make(map[int]candidate, len(all))
	var unknown []string
	for _, c := range all {
		byPID[c.PID] = c
		if c.task == "" {
			unknown = append(unknown, fmt.Sprintf("%d (%s)", c.PID, c.Name))
		}
	}
	var found []Process
	for _, c := range all {
		if parent, ok := byPID[c.parent]; meant(c) && !(ok && meant(parent)) {
			found = append(found, c.Process)
		}
	}
	if len(found) == 0 && len(unknown) > 0 {
		return nil, fmt.Errorf("nothing tells which task process %s belongs to, and none is known to be of task %q: run this sidecar as the application's user, or as root",
			strings.Join(unknown, ", "), t.Task)
	}
	slices.SortFunc(found, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	if t.Process == "" && len(found) > 1 {
		found = found[:1]
	}
	return found, nil
}

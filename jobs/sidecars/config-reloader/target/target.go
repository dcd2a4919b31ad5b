// Package target finds the processes of one task in the shared PID namespace of a
// pod and signals them.
//
// It never signals processes of other tasks, nor processes that the signal would
// end because they do not handle it. It does not observe the effect of a signal.
package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"
)

// runcInit is the name prefix of runc's process before it executes the task's
// program. A signal would end it, and the program has not read its configuration yet.
const runcInit = "runc:["

// Target selects processes.
type Target struct {
	Task    string
	AllocID string // empty: any allocation
	// Process selects by name (comm, truncated to 15 bytes by the kernel). Empty is the
	// task's first process.
	Process string
}

// Process is a process that was found.
type Process struct {
	PID   int
	Start uint64 // ticks since boot; unique together with the PID
	Name  string
}

// candidate holds the fields that processes are selected by.
type candidate struct {
	Process
	parent int
	task   string
}

// Find returns the selected processes, oldest first. It returns none if the task is
// not running.
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

// choose selects processes from all.
//
// The first process of a task is the oldest one with a parent outside of the task. A
// session of "nomad alloc exec" has no parent in the pod either, but is younger. By
// name, a process is selected if its parent has another name, since programs such as
// nginx forward signals to their workers.
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
		return nil, fmt.Errorf("the task of process %s is unknown, and no process is known to belong to task %q: run this sidecar as the application's user, or as root",
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

// Package podprocs reads the processes of a pod and maps each to its task. The
// sidecars that observe processes share it.
//
// It keeps no state between reads and computes no rates; each sidecar does that.
package podprocs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/podtask"
)

// TicksPerSecond is USER_HZ, the unit of times in /proc/<pid>/stat: 100 on
// every architecture of Linux that Go supports (proc(5), time(7)).
const TicksPerSecond = 100

// Process is a snapshot of one process.
type Process struct {
	procfs.Proc
	Stat procfs.ProcStat
	// Task is the name of the Nomad task, podtask.Pod for the infra process, and ""
	// if unknown.
	Task string
}

// Identity distinguishes a process from a later one with the same PID.
type Identity struct {
	PID        int
	StartTicks uint64
}

// Identity returns the PID and start time of p.
func (p Process) Identity() Identity { return Identity{p.PID, p.Stat.Starttime} }

// Read returns all processes in no particular order and skips those that exit
// meanwhile. Only tasks of allocID are named; an empty allocID accepts any.
func Read(proc procfs.FS, allocID string) ([]Process, error) {
	found, err := proc.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	processes := make([]Process, 0, len(found))
	evidence := make(map[int]podtask.Clues, len(found))
	for _, p := range found {
		stat, err := p.Stat()
		if Vanished(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process %d: %w", p.PID, err)
		}
		evidence[p.PID] = podtask.Read(p, stat)
		processes = append(processes, Process{Proc: p, Stat: stat})
	}
	tasks := podtask.Attribute(evidence, allocID)
	for i := range processes {
		processes[i].Task = tasks[processes[i].PID]
	}
	return processes, nil
}

// Vanished reports whether err means that the process has exited.
func Vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

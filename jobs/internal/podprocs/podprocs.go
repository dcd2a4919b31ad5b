// Package podprocs reads the processes of a pod, each with the task it belongs
// to. It is what the sidecars that look at all processes share.
//
// It keeps nothing between two readings, computes no rates and shows nothing:
// that is for each sidecar to do.
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
// every architecture Linux runs Go on (proc(5), time(7)).
const TicksPerSecond = 100

// Process is one process at the time of a reading.
type Process struct {
	procfs.Proc
	Stat procfs.ProcStat
	// Task is the Nomad task that the process belongs to, podtask.Pod for the
	// pod's own first process, "" where nothing tells.
	Task string
}

// Identity tells a process from a later one that has its PID.
type Identity struct {
	PID        int
	StartTicks uint64
}

// Identity of the process.
func (p Process) Identity() Identity { return Identity{p.PID, p.Stat.Starttime} }

// Read gives all processes, in no order. One that ends meanwhile is left out.
// Only tasks of the given allocation are named; an empty allocID accepts any.
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

// Vanished tells an error of reading a process that has ended.
func Vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

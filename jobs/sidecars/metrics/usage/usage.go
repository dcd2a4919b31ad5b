// Package usage sums the resource usage of a pod's processes by task.
//
// It reads /proc only on request. It does not format values or compute rates; totals
// only grow.
package usage

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/podtask"
)

// Other is the name for processes of unknown tasks and for tasks beyond maxTasks.
const Other = "(other)"

// maxTasks bounds the number of tasks. If the cgroup does not identify the task,
// processes could claim arbitrarily many.
const maxTasks = 100

// Task is the current and total usage of one task.
type Task struct {
	// Name is the name of the Nomad task, podtask.Pod, or Other.
	Name string
	// User and System are the observed CPU time since the start of the pod, exited
	// processes included. They never decrease.
	User, System time.Duration
	// Processes and Threads count live ones; zero if the task has ended.
	Processes, Threads int
	// ResidentBytes is the sum of the resident sets. Shared memory counts once per
	// process.
	ResidentBytes uint64
	// AnonymousBytes is the part of ResidentBytes that is not backed by a file.
	AnonymousBytes uint64
	SwapBytes      uint64
	// OpenFDs is the number of file descriptors. It is negative if the descriptors of a
	// process are unreadable.
	OpenFDs int
	// Started is the start of the oldest process; zero without processes and for names
	// other than Nomad tasks.
	Started time.Time
	// Restarts counts how often the first process was replaced.
	Restarts int
}

// own reports whether this is a Nomad task.
func (t *Task) own() bool { return t.Name != podtask.Pod && t.Name != Other }

// Meter reads the processes of a pod. It is not safe for concurrent use.
type Meter struct {
	proc     procfs.FS
	allocID  string
	bootTime time.Time

	times  map[podprocs.Identity]reading
	first  map[string]podprocs.Identity // the oldest process of each task
	totals map[string]*Task             // of every task ever seen
}

// New returns a Meter for a mounted proc file system. Only tasks of allocID are
// named; an empty allocID accepts any.
func New(procDir, allocID string) (*Meter, error) {
	proc, err := procfs.NewFS(procDir)
	if err != nil {
		return nil, fmt.Errorf("open the proc file system: %w", err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the boot time: %w", err)
	}
	return &Meter{
		proc: proc, allocID: allocID, bootTime: time.Unix(int64(stat.BootTime), 0),
		times: map[podprocs.Identity]reading{}, first: map[string]podprocs.Identity{}, totals: map[string]*Task{},
	}, nil
}

// Read returns every task that was ever observed, sorted by name.
func (m *Meter) Read() ([]Task, error) {
	processes, err := podprocs.Read(m.proc, m.allocID)
	if err != nil {
		return nil, err
	}
	for _, t := range m.totals {
		*t = Task{Name: t.Name, User: t.User, System: t.System, Restarts: t.Restarts}
	}
	for i, p := range processes {
		t := m.task(p.Task)
		processes[i].Task = t.Name
		t.add(p)
	}
	m.addTimes(processes)
	m.noteFirst(processes)

	all := make([]Task, 0, len(m.totals))
	for _, t := range m.totals {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Task) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// task returns the totals of a task, creating them if necessary.
func (m *Meter) task(name string) *Task {
	if name == "" {
		name = Other
	}
	if m.totals[name] == nil && len(m.totals) >= maxTasks {
		name = Other
	}
	if m.totals[name] == nil {
		m.totals[name] = &Task{Name: name}
	}
	return m.totals[name]
}

// add adds the current usage of a process. Unreadable values of a process that is
// exiting count as zero.
func (t *Task) add(p podprocs.Process) {
	t.Processes++
	t.Threads += p.Stat.NumThreads
	t.ResidentBytes += uint64(max(0, p.Stat.ResidentMemory()))
	if status, err := p.NewStatus(); err == nil {
		t.AnonymousBytes += status.RssAnon
		t.SwapBytes += status.VmSwap
	}
	fds, err := p.FileDescriptorsLen()
	switch {
	case podprocs.Vanished(err) || t.OpenFDs < 0:
	case err != nil: // a partial sum would look complete
		t.OpenFDs = -1
	default:
		t.OpenFDs += fds
	}
}

// noteFirst finds the oldest process of each Nomad task. If it changes, the task was
// restarted, since the driver kills all processes of a task when its first exits.
func (m *Meter) noteFirst(processes []podprocs.Process) {
	oldest := map[string]podprocs.Process{}
	for _, p := range processes {
		o, ok := oldest[p.Task]
		if !ok || cmp.Or(cmp.Compare(p.Stat.Starttime, o.Stat.Starttime), cmp.Compare(p.PID, o.PID)) < 0 {
			oldest[p.Task] = p
		}
	}
	for name, p := range oldest {
		t := m.totals[name]
		if !t.own() {
			continue
		}
		before, seen := m.first[name]
		if seen && before != p.Identity() {
			t.Restarts++
		}
		m.first[name] = p.Identity()
		t.Started = m.bootTime.Add(ticks(p.Stat.Starttime))
	}
}

func ticks(n uint64) time.Duration { return time.Duration(n) * (time.Second / podprocs.TicksPerSecond) }

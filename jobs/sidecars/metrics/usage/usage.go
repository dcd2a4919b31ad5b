// Package usage adds up what the processes of a pod use, task by task.
//
// It reads /proc when asked to and at no other time. It knows no format to
// show its numbers in, and no rates: totals only grow.
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

// Other stands for processes that nothing tells the task of, and for the
// tasks beyond maxTasks.
const Other = "(other)"

// maxTasks bounds how many tasks are told apart. Where the cgroup does not
// tell the task, processes could name ever new ones.
const maxTasks = 100

// Task is what the processes of one task use now, and have used.
type Task struct {
	// Name is that of Nomad's task, podtask.Pod, or Other.
	Name string
	// User and System are CPU time since the start of the pod, as far as it
	// was seen, of the processes that ended included. They never fall.
	User, System time.Duration
	// Processes and Threads are those that live; of an ended task there is none.
	Processes, Threads int
	// ResidentBytes is the sum of the resident sets. Memory that processes
	// share counts for each.
	ResidentBytes uint64
	// AnonymousBytes is the part of it that no file is behind.
	AnonymousBytes uint64
	SwapBytes      uint64
	// OpenFDs are the file descriptors, negative where those of one process
	// may not be read.
	OpenFDs int
	// Started is when the oldest process did; zero for no process, and for
	// what is not one of Nomad's tasks.
	Started time.Time
	// Restarts counts how often another first process was seen than before.
	Restarts int
}

// own tells whether this is one of Nomad's tasks.
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

// New makes a Meter for a mounted proc file system. Only tasks of the given
// allocation are named; an empty allocID accepts any.
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

// Read gives every task that was ever seen, by name.
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

// task finds a task's totals, or begins them.
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

// add adds what a process uses now. What cannot be read of one that is just
// ending counts as nothing.
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
	case err != nil: // a part of the sum would look like all of it
		t.OpenFDs = -1
	default:
		t.OpenFDs += fds
	}
}

// noteFirst finds the oldest process of each of Nomad's tasks. When another
// one takes its place, the task was restarted: the driver lets no process of
// a task outlive its first.
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

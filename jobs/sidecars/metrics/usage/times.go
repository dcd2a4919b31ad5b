package usage

import "github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"

// cpu is CPU time in ticks.
type cpu struct{ user, system uint64 }

func (c cpu) plus(d cpu) cpu { return cpu{c.user + d.user, c.system + d.system} }

// minus returns the difference, at least zero.
func (c cpu) minus(d cpu) cpu {
	return cpu{c.user - min(c.user, d.user), c.system - min(c.system, d.system)}
}

// reading is the CPU time of a process when it was read.
type reading struct {
	task string
	self cpu
	// children is the time of children that exited and were waited for, their
	// own children included (proc(5), cutime).
	children cpu
}

func readingOf(p podprocs.Process) reading {
	return reading{
		task:     p.Task,
		self:     cpu{uint64(p.Stat.UTime), uint64(p.Stat.STime)},
		children: cpu{uint64(max(0, p.Stat.CUTime)), uint64(max(0, p.Stat.CSTime))},
	}
}

// addTimes adds the CPU time that processes used since the last reading to their
// tasks.
//
// The sum over live processes would fall whenever a process exits. The time of an
// exited process is added to the parent that waited for it, so children's times are
// counted as well, which includes processes too short-lived to be read. The part
// that was already counted while they lived is subtracted.
func (m *Meter) addTimes(processes []podprocs.Process) {
	used, waitedFor, ended := map[string]cpu{}, map[string]cpu{}, map[string]cpu{}
	now := make(map[podprocs.Identity]reading, len(processes))
	for _, p := range processes {
		r := readingOf(p)
		now[p.Identity()] = r
		before, seen := m.times[p.Identity()]
		used[r.task] = used[r.task].plus(r.self.minus(before.self))
		if !seen {
			used[r.task] = used[r.task].plus(r.children)
			continue
		}
		waitedFor[r.task] = waitedFor[r.task].plus(r.children.minus(before.children))
	}
	for id, r := range m.times {
		if _, lives := now[id]; !lives {
			ended[r.task] = ended[r.task].plus(r.self).plus(r.children)
		}
	}
	m.times = now
	for name, t := range m.totals {
		grown := used[name].plus(waitedFor[name].minus(ended[name]))
		t.User += ticks(grown.user)
		t.System += ticks(grown.system)
	}
}

package main

import (
	"slices"
	"time"
)

// maxGuides bounds the indentation of a row, since the number of ancestors is
// unbounded.
const maxGuides = 12

// taskSum sums the processes of a task in the shape of a process, so that it sorts and
// renders like one. Its PID is the lowest and its start the earliest.
type taskSum struct {
	Process
	processes int
}

// sumTasks sums each task, sorted by name with the unnamed task last.
func sumTasks(processes []Process) []*taskSum {
	sums := map[string]*taskSum{}
	for _, p := range processes {
		s := sums[p.Task]
		if s == nil {
			s = &taskSum{Process: Process{PID: p.PID, Task: p.Task, StartedAt: p.StartedAt}}
			sums[p.Task] = s
		}
		s.processes++
		s.PID = min(s.PID, p.PID)
		s.Threads += p.Threads
		s.CPUPercent += p.CPUPercent
		s.CPUSeconds += p.CPUSeconds
		s.MemoryBytes += p.MemoryBytes
		if p.StartedAt.Before(s.StartedAt) {
			s.StartedAt = p.StartedAt
		}
	}
	return orderTasks(sums, query{sort: "task"})
}

// orderTasks sorts tasks in the query's order with the unnamed task last.
func orderTasks(sums map[string]*taskSum, q query) []*taskSum {
	var all []Process
	for _, s := range sums {
		all = append(all, s.Process)
	}
	var out []*taskSum
	for _, p := range q.everything().selected(all) {
		out = append(out, sums[p.Task])
	}
	if i := slices.IndexFunc(out, func(s *taskSum) bool { return s.Task == "" }); i >= 0 {
		out = append(slices.Delete(out, i, i+1), sums[""])
	}
	return out
}

// everything returns a query in the same order that selects all processes.
func (q query) everything() query { return query{sort: q.sort, reverse: q.reverse} }

// node is a process with its children in the same task.
type node struct {
	Process
	below  []*node
	chosen bool // selected by the query; others are ancestors of selected ones
}

// forest returns the root processes of each task: those selected by the query, with
// their ancestors. Siblings are in the query's order.
func forest(all []Process, q query) map[string][]*node {
	nodes := make(map[int]*node, len(all))
	for _, p := range all {
		nodes[p.PID] = &node{Process: p, chosen: q.matches(p)}
	}
	kept := map[*node]bool{}
	for _, n := range nodes {
		if !n.chosen {
			continue
		}
		for ; n != nil && !kept[n]; n = n.parent(nodes) {
			kept[n] = true
		}
	}
	roots := map[string][]*node{}
	for _, p := range q.everything().selected(all) {
		n := nodes[p.PID]
		switch parent := n.parent(nodes); {
		case !kept[n]:
		case parent != nil:
			parent.below = append(parent.below, n)
		default:
			roots[n.Task] = append(roots[n.Task], n)
		}
	}
	return roots
}

// parent returns nil for the first processes of a task. Processes are read one after
// the other and PIDs may be reused meanwhile, so a parent must be older than its
// child. This also excludes cycles.
func (n *node) parent(nodes map[int]*node) *node {
	p := nodes[n.PPID]
	if p == nil || p.Task != n.Task {
		return nil
	}
	if p.StartedAt.After(n.StartedAt) || p.StartedAt.Equal(n.StartedAt) && p.PID >= n.PID {
		return nil
	}
	return p
}

// treeRows returns the rows of a tree: tasks, and below each its processes.
func treeRows(s Snapshot, q query) []row {
	roots := forest(s.Processes, q)
	sums := map[string]*taskSum{}
	for _, t := range sumTasks(s.Processes) {
		if len(roots[t.Task]) > 0 {
			sums[t.Task] = t
		}
	}
	var rows []row
	for _, t := range orderTasks(sums, q) {
		r := newRow(t.Process, s.SampledAt)
		r.Key, r.Level, r.Parent, r.Count = "task-"+t.Task, 1, true, t.processes
		rows = append(rows, r)
		rows = appendNodes(rows, roots[t.Task], branch{level: 2}, s.SampledAt)
	}
	return rows
}

// branch is the position of siblings in the tree. Guides are the vertical lines to
// their left: "bar" for a line, "gap" for none.
type branch struct {
	level  int
	guides []string
}

func appendNodes(rows []row, siblings []*node, at branch, now time.Time) []row {
	for i, n := range siblings {
		corner, line := "tee", "bar"
		if i == len(siblings)-1 {
			corner, line = "elbow", "gap"
		}
		r := newRow(n.Process, now)
		r.Level, r.Parent, r.Context = at.level, len(n.below) > 0, !n.chosen
		r.Guides = append(slices.Clone(at.guides), corner)
		rows = append(rows, r)
		next := branch{level: at.level + 1, guides: at.guides}
		if len(at.guides) < maxGuides {
			next.guides = append(slices.Clone(at.guides), line)
		}
		rows = appendNodes(rows, n.below, next, now)
	}
	return rows
}

// listRows returns all processes as a flat list in one order.
func listRows(s Snapshot, q query) []row {
	var rows []row
	for _, p := range q.selected(s.Processes) {
		rows = append(rows, newRow(p, s.SampledAt))
	}
	return rows
}

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/podtask"
)

// drawn writes rows as a tree of names, "*" for what is there only for others.
func drawn(rows []row) string {
	var b strings.Builder
	for _, r := range rows {
		line := strings.Repeat("  ", r.Level-1)
		switch {
		case r.Count > 0:
			line += r.Task + "/"
		case r.Context:
			line += fmt.Sprint(r.PID, "*")
		default:
			line += fmt.Sprint(r.PID)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func proc(pid, ppid int, task string, cpu float64, started int64) Process {
	return Process{PID: pid, PPID: ppid, Task: task, CPUPercent: cpu, StartedAt: time.Unix(started, 0), Command: fmt.Sprint("p", pid)}
}

func TestTree(t *testing.T) {
	processes := []Process{
		proc(1, 0, podtask.Pod, 0, 1),
		proc(2, 0, "app", 1, 2), proc(3, 2, "app", 5, 3), proc(4, 2, "app", 9, 4), proc(5, 3, "app", 2, 5),
		proc(6, 1, "app", 0, 6), // adopted by the pod: its task is its own
		proc(7, 0, "proxy", 30, 7),
		proc(8, 0, "", 99, 8), // the task without a name comes last
	}
	for name, tc := range map[string]struct {
		query query
		want  string
	}{
		"by CPU": {query{sort: "cpu", reverse: true}, `proxy/
  7
app/
  2
    4
    3
      5
  6
(pod)/
  1
/
  8
`},
		"by PID": {query{sort: "pid"}, "(pod)/\n  1\napp/\n  2\n    3\n      5\n    4\n  6\nproxy/\n  7\n/\n  8\n"},
		"a text": {query{sort: "pid", text: "p5"}, "app/\n  2*\n    3*\n      5\n"},
		"a task": {query{sort: "pid", task: "proxy"}, "proxy/\n  7\n"},
		"none":   {query{sort: "pid", text: "nothing"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			must.Eq(t, tc.want, drawn(treeRows(Snapshot{Processes: processes}, tc.query)))
		})
	}
}

func TestTreeSumsUpTasks(t *testing.T) {
	rows := treeRows(Snapshot{Processes: []Process{
		{PID: 9, Task: "app", Threads: 2, CPUPercent: 1, CPUSeconds: 3, MemoryBytes: 5, StartedAt: time.Unix(9, 0)},
		{PID: 8, Task: "app", Threads: 3, CPUPercent: 2, CPUSeconds: 4, MemoryBytes: 6, StartedAt: time.Unix(8, 0)},
	}}, query{sort: "pid", text: "app"})
	must.Eq(t, Process{PID: 8, Task: "app", Threads: 5, CPUPercent: 3, CPUSeconds: 7, MemoryBytes: 11, StartedAt: time.Unix(8, 0)}, rows[0].Process)
	must.Eq(t, 2, rows[0].Count)
}

// Processes are read one after the other while PIDs are reused: whatever comes
// of it, each is shown once.
func TestTreeShowsEachProcessOnce(t *testing.T) {
	var deep []Process
	for pid := 1; pid <= 5000; pid++ {
		deep = append(deep, proc(pid, pid-1, "app", 0, int64(pid)))
	}
	for name, processes := range map[string][]Process{
		"a circle":          {proc(2, 3, "app", 0, 1), proc(3, 2, "app", 0, 1)},
		"its own parent":    {proc(2, 2, "app", 0, 1)},
		"a younger parent":  {proc(2, 3, "app", 0, 1), proc(3, 0, "app", 0, 2)},
		"very many parents": deep,
	} {
		t.Run(name, func(t *testing.T) {
			rows := treeRows(Snapshot{Processes: processes}, query{sort: "pid", text: "p"})
			must.SliceLen(t, len(processes)+1, rows)
			for _, r := range rows {
				must.LessEq(t, maxGuides+1, len(r.Guides))
			}
		})
	}
}

func TestTreeKnowsReusedPIDs(t *testing.T) {
	rows := treeRows(Snapshot{Processes: []Process{proc(2, 3, "app", 0, 1), proc(3, 0, "app", 0, 2)}}, query{sort: "pid"})
	must.Eq(t, "app/\n  2\n  3\n", drawn(rows), must.Sprint("what is younger is no parent"))
}

func TestTreeDrawsItsLines(t *testing.T) {
	rows := treeRows(Snapshot{Processes: []Process{
		proc(2, 0, "app", 0, 2), proc(3, 2, "app", 0, 3), proc(4, 0, "app", 0, 4), proc(5, 4, "app", 0, 5),
	}}, query{sort: "pid"})
	var lines []string
	for _, r := range rows {
		lines = append(lines, strings.Join(r.Guides, " "))
	}
	must.Eq(t, []string{"", "tee", "bar elbow", "elbow", "gap elbow"}, lines)
}

func TestSplitCommand(t *testing.T) {
	for line, want := range map[string][3]string{
		"/usr/bin/nginx -g /x": {"/usr/bin/", "nginx", " -g /x"},
		"nginx: worker":        {"", "nginx:", " worker"},
		"[kthread]":            {"", "[kthread]", ""},
		"/bin/ x":              {"", "/bin/", " x"},
		"":                     {"", "", ""},
	} {
		dir, program, args := splitCommand(line)
		must.Eq(t, want, [3]string{dir, program, args})
		must.Eq(t, line, dir+program+args)
	}
}

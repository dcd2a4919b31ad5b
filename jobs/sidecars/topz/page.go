package main

import (
	_ "embed" // the page's template
	"fmt"
	"hash/fnv"
	"html/template"
	"io"
	"strconv"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/podtask"
)

//go:embed page.html
var pageTemplate string

// page renders a snapshot as HTML that works without scripts; the script refreshes
// it and applies the differences.
type page struct {
	template *template.Template
}

func newPage() page {
	return page{template.Must(template.New("page").Funcs(template.FuncMap{
		"bytes":   humanBytes,
		"cpuTime": humanCPUTime,
		"percent": func(p float64) string { return fmt.Sprintf("%.1f", p) },
		"state":   stateWord,
		"meaning": stateMeaning,
		"hue":     hue,
		"short":   func(id string) string { return id[:min(8, len(id))] },
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
	}).Parse(pageTemplate))}
}

// view is the data of the template.
type view struct {
	Pod             Pod
	SampledAt       time.Time
	Stale           bool // the sample is older than expected
	IntervalSeconds float64
	RefreshSeconds  int // for browsers without scripts
	Query           string
	Task            string
	Sort, Order     string
	List            bool // flat list instead of a tree
	JSON            string
	AllURL          string
	TreeURL         string
	ListURL         string
	Total           total
	Tasks           []taskView
	Columns         []columnView
	Rows            []row
}

// total sums all processes.
type total struct {
	Processes   int
	Threads     int
	CPUPercent  float64
	MemoryBytes uint64
}

// taskView links to a single task, or from there back to all.
type taskView struct {
	Name      string
	Processes int
	URL       string
	Selected  bool
}

type columnView struct {
	Key, Title, URL string
	Numeric         bool
	Sorted          string // ascending, descending or none, as in aria-sort
}

// row is a process or, in a tree, a task with the sums of its processes.
type row struct {
	Process
	Key                string // the same in every refresh
	Level              int    // in the tree, from 1
	Guides             []string
	Parent             bool // rows below belong to it
	Context            bool // not selected, but an ancestor of a selected process
	Count              int  // number of processes of a task, 0 for a process
	Dir, Program, Args string
	CPUBar             int // width, 0 to 100
	Age                string
}

func newRow(p Process, now time.Time) row {
	r := row{
		Process: p,
		Key:     "process-" + strconv.Itoa(p.PID) + "-" + strconv.FormatInt(p.StartedAt.UnixMilli(), 10),
		Level:   1,
		CPUBar:  min(100, int(p.CPUPercent+0.5)),
		Age:     humanAge(now.Sub(p.StartedAt)),
	}
	r.Dir, r.Program, r.Args = splitCommand(p.Command)
	return r
}

func (p page) render(w io.Writer, s Snapshot, q query, about sampling) error {
	v := view{
		Pod:             s.Pod,
		SampledAt:       s.SampledAt,
		Stale:           about.stale,
		IntervalSeconds: about.interval.Seconds(),
		RefreshSeconds:  max(1, int(about.interval.Seconds())),
		Query:           q.text,
		Task:            q.task,
		Sort:            q.sort,
		Order:           q.order(),
		List:            q.list,
		JSON:            "/api/processes" + q.with(func(q *query) { q.list = false }).url()[1:],
		AllURL:          q.with(func(q *query) { q.task = "" }).url(),
		TreeURL:         q.with(func(q *query) { q.list = false }).url(),
		ListURL:         q.with(func(q *query) { q.list = true }).url(),
		Columns:         columnViews(q),
	}
	for _, t := range sumTasks(s.Processes) {
		v.Total.Processes += t.processes
		v.Total.Threads += t.Threads
		v.Total.CPUPercent += t.CPUPercent
		v.Total.MemoryBytes += t.MemoryBytes
		if t.Task != "" {
			v.Tasks = append(v.Tasks, newTaskView(t, q))
		}
	}
	if v.Rows = treeRows(s, q); q.list {
		v.Rows = listRows(s, q)
	}
	if err := p.template.Execute(w, v); err != nil {
		return fmt.Errorf("execute template: %w", err)
	}
	return nil
}

// sampling describes the sampling interval of a page.
type sampling struct {
	interval time.Duration
	stale    bool
}

func newTaskView(t *taskSum, q query) taskView {
	selected := t.Task == q.task
	next := q.with(func(q *query) {
		if q.task = t.Task; selected {
			q.task = ""
		}
	})
	return taskView{Name: t.Task, Processes: t.processes, URL: next.url(), Selected: selected}
}

// columnViews links each title to sorting by its column, and the current one to the
// opposite order. A tree omits the columns for task and parent.
func columnViews(q query) []columnView {
	keys := []string{"command", "pid", "user", "state", "cpu", "memory", "threads", "time", "started"}
	if q.list {
		keys = []string{"command", "pid", "ppid", "task", "user", "state", "cpu", "memory", "threads", "time", "started"}
	}
	byKey := map[string]column{}
	for _, c := range columns() {
		byKey[c.key] = c
	}
	var out []columnView
	for _, key := range keys {
		c := byKey[key]
		next := q.with(func(q *query) { q.sort, q.reverse = c.key, c.falling })
		sorted := "none"
		if c.key == q.sort {
			next.reverse = !q.reverse
			sorted = map[bool]string{false: "ascending", true: "descending"}[q.reverse]
		}
		out = append(out, columnView{Key: c.key, Title: c.title, URL: next.url(), Numeric: c.numeric, Sorted: sorted})
	}
	return out
}

// hue maps a task name to one of eight colours of the style sheet, the same in
// every pod; 0 is neutral.
func hue(task string) int {
	if task == "" || task == podtask.Pod {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(task)) // never fails
	return 1 + int(h.Sum32()%8)
}

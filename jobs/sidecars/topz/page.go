package main

import (
	"cmp"
	_ "embed" // the page's template
	"fmt"
	"hash/fnv"
	"html/template"
	"io"
	"slices"
	"time"
)

//go:embed page.html
var pageTemplate string

// page renders a snapshot as HTML that works without scripts; the script
// fetches it again and swaps the parts marked data-live.
type page struct {
	template *template.Template
}

func newPage() page {
	return page{template.Must(template.New("page").Funcs(template.FuncMap{
		"bytes":   humanBytes,
		"cpuTime": humanCPUTime,
		"percent": func(p float64) string { return fmt.Sprintf("%.1f", p) },
		"state":   stateWord,
		"hue":     hue,
		"short":   func(id string) string { return id[:min(8, len(id))] },
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
	}).Parse(pageTemplate))}
}

// view is what the template sees.
type view struct {
	Pod             Pod
	SampledAt       time.Time
	IntervalSeconds float64
	RefreshSeconds  int // for browsers without scripts
	Query           string
	Task            string
	Sort, Order     string
	JSON            string
	AllURL          string
	Total           total
	Tasks           []taskView
	Columns         []columnView
	Rows            []row
}

// total sums up some processes.
type total struct {
	Processes   int
	Threads     int
	CPUPercent  float64
	MemoryBytes uint64
}

func (t *total) add(p Process) {
	t.Processes++
	t.Threads += p.Threads
	t.CPUPercent += p.CPUPercent
	t.MemoryBytes += p.MemoryBytes
}

type taskView struct {
	Name     string
	URL      string
	Selected bool
	total
}

type columnView struct {
	Key, Title, URL string
	Numeric         bool
	Sorted          string // ascending, descending or none, as aria-sort wants it
}

type row struct {
	Process
	CPUBar int // width, 0 to 100
	Age    string
}

func (p page) render(w io.Writer, s Snapshot, q query, interval time.Duration) error {
	v := view{
		Pod:             s.Pod,
		SampledAt:       s.SampledAt,
		IntervalSeconds: interval.Seconds(),
		RefreshSeconds:  max(1, int(interval.Seconds())),
		Query:           q.text,
		Task:            q.task,
		Sort:            q.sort,
		Order:           q.order(),
		JSON:            "/api/processes" + q.url()[1:],
		Columns:         columnViews(q),
		Tasks:           taskViews(s.Processes, q),
	}
	everything := q
	everything.task = ""
	v.AllURL = everything.url()
	for _, process := range s.Processes {
		v.Total.add(process)
	}
	for _, process := range q.selected(s.Processes) {
		v.Rows = append(v.Rows, row{
			Process: process,
			CPUBar:  min(100, int(process.CPUPercent+0.5)),
			Age:     humanAge(s.SampledAt.Sub(process.StartedAt)),
		})
	}
	if err := p.template.Execute(w, v); err != nil {
		return fmt.Errorf("execute template: %w", err)
	}
	return nil
}

// columnViews links each title to its column's order, and the sorted one's to
// the opposite order.
func columnViews(q query) []columnView {
	var out []columnView
	for _, c := range columns() {
		next := q
		next.sort, next.reverse = c.key, c.falling
		sorted := "none"
		if c.key == q.sort {
			next.reverse = !q.reverse
			sorted = map[bool]string{false: "ascending", true: "descending"}[q.reverse]
		}
		out = append(out, columnView{Key: c.key, Title: c.title, URL: next.url(), Numeric: c.numeric, Sorted: sorted})
	}
	return out
}

// taskViews sums up each task, ordered by name, the unknown one last. A
// selected task's link takes the selection back.
func taskViews(processes []Process, q query) []taskView {
	sums := map[string]*taskView{}
	for _, p := range processes {
		if sums[p.Task] == nil {
			sums[p.Task] = &taskView{Name: p.Task}
		}
		sums[p.Task].add(p)
	}
	var out []taskView
	for name, t := range sums {
		next := q
		next.task = name
		if t.Selected = name != "" && name == q.task; t.Selected {
			next.task = ""
		}
		t.URL = next.url()
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b taskView) int {
		if (a.Name == "") != (b.Name == "") {
			return cmp.Compare(len(b.Name), len(a.Name))
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// hue picks one of the style sheet's eight colours, the same for a task name
// in every pod; 0 is the neutral one.
func hue(task string) int {
	if task == "" || task == podTask {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(task)) // never fails
	return 1 + int(h.Sum32()%8)
}

func humanBytes(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	}
}

func humanCPUTime(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.2fs", seconds)
	}
	return humanAge(time.Duration(seconds * float64(time.Second)))
}

// humanAge keeps the two largest units.
func humanAge(age time.Duration) string {
	s := int64(max(0, age) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh %02dm", s/3600, s%3600/60)
	default:
		return fmt.Sprintf("%dd %02dh", s/86400, s%86400/3600)
	}
}

// stateWord explains the letters of proc(5).
func stateWord(letter string) string {
	switch letter {
	case "R":
		return "running"
	case "S":
		return "sleeping"
	case "D":
		return "waiting for a device"
	case "Z":
		return "zombie: ended, not reaped by its parent"
	case "T":
		return "stopped"
	case "t":
		return "stopped by a debugger"
	case "I":
		return "idle"
	case "X":
		return "dead"
	default:
		return "unknown"
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// report contains all results.
type report struct {
	results []result
	left    []string // contestants left out, and why
	machine []string // the machine's description
}

// median returns the median; of an even number of values, the upper of the middle two.
func median[T time.Duration | float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// metric is a quantity of a result. Less is better.
type metric struct {
	title, unit string
	format      string // number format
	// of returns the value, and false if it was not measured.
	of func(result) (float64, bool)
}

func metrics() []metric {
	return []metric{
		{"Started", "ms from the first task's set-up to the last one's start", "%.0f",
			func(r result) (float64, bool) { return r.start.Seconds() * 1e3, true }},
		{"Memory", "MiB a task beside the workload, log collectors and plugin included", "%.1f",
			func(r result) (float64, bool) { return mebibytes(r.memory), true }},
		{"Stopped", "ms from the request to the end of the last task", "%.0f",
			func(r result) (float64, bool) { return r.stop.Seconds() * 1e3, true }},
		{"Idle", "% of one processor for the client and all beside the workload, with Nomad's statistics every second", "%.1f",
			func(r result) (float64, bool) { return r.cpu * 100, r.cpu >= 0 }},
	}
}

// value returns the median of a metric for a contestant and a number of tasks.
func (r report) value(m metric, name string, tasks int) (float64, bool) {
	var all []float64
	for _, result := range r.results {
		if v, ok := m.of(result); ok && result.name == name && result.tasks == tasks {
			all = append(all, v)
		}
	}
	return median(all), len(all) > 0
}

// names returns the contestants in the order of their runs.
func (r report) names() []string {
	var names []string
	for _, result := range r.results {
		if !slices.Contains(names, result.name) {
			names = append(names, result.name)
		}
	}
	return names
}

// sizes returns the numbers of tasks in ascending order.
func (r report) sizes() []int {
	var sizes []int
	for _, result := range r.results {
		sizes = append(sizes, result.tasks)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// runs returns how often a contestant ran that many tasks.
func (r report) runs(name string, tasks int) int {
	n := 0
	for _, result := range r.results {
		if result.name == name && result.tasks == tasks {
			n++
		}
	}
	return n
}

// markdown returns a table for each metric, with the ratio to the first contestant in brackets.
func (r report) markdown() string {
	var out strings.Builder
	names := r.names()
	for _, m := range metrics() {
		fmt.Fprintf(&out, "**%s**: %s\n\n| tasks |", m.title, m.unit)
		for _, name := range names {
			fmt.Fprintf(&out, " %s |", name)
		}
		fmt.Fprintf(&out, "\n|---:|%s\n", strings.Repeat("---:|", len(names)))
		for _, tasks := range r.sizes() {
			fmt.Fprintf(&out, "| %d |", tasks)
			for _, name := range names {
				fmt.Fprintf(&out, " %s |", r.cell(m, name, tasks))
			}
			out.WriteString("\n")
		}
		out.WriteString("\n")
	}
	out.WriteString("Medians: " + r.rounds() + ". In brackets: how many times as much as the first column.\n\n")
	for _, line := range r.machine {
		fmt.Fprintf(&out, "- %s\n", line)
	}
	for _, line := range r.left {
		fmt.Fprintf(&out, "- left out: %s\n", line)
	}
	return out.String()
}

func (r report) cell(m metric, name string, tasks int) string {
	v, ok := r.value(m, name, tasks)
	if !ok {
		return "–"
	}
	text := fmt.Sprintf(m.format, v)
	first := r.names()[0]
	if base, ok := r.value(m, first, tasks); ok && base > 0 && name != first {
		text += fmt.Sprintf(" (%.1f×)", v/base)
	}
	return text
}

// rounds returns the number of runs per job size.
func (r report) rounds() string {
	names, sizes := r.names(), r.sizes()
	var parts []string
	for _, tasks := range sizes {
		parts = append(parts, fmt.Sprintf("%d tasks %s", tasks, times(r.runs(names[0], tasks))))
	}
	for _, name := range names {
		if n := r.runs(name, sizes[0]); n < r.runs(names[0], sizes[0]) {
			parts = append(parts, name+" "+times(n))
		}
	}
	return strings.Join(parts, ", ")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

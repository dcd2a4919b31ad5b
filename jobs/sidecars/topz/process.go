package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Process is a snapshot of one process.
type Process struct {
	PID  int `json:"pid"`
	PPID int `json:"ppid"` // 0: the parent is outside of the pod
	// Task is the name of the Nomad task, "(pod)" for the infra process, and "" if
	// unknown.
	Task string `json:"task"`
	// User is the name of the effective user, or its number if topz's own passwd file
	// has no name for it.
	User string `json:"user"`
	// State is the letter of proc(5): R, S, D, Z, T, t, X or I.
	State   string `json:"state"`
	Threads int    `json:"threads"`
	// CPUPercent is the CPU usage since the previous sample or, for a newer process,
	// since its start. 100 is one core.
	CPUPercent float64 `json:"cpu_percent"`
	// CPUSeconds is the user and system time since the start.
	CPUSeconds float64 `json:"cpu_seconds"`
	// MemoryBytes is the resident set.
	MemoryBytes uint64    `json:"memory_bytes"`
	StartedAt   time.Time `json:"started_at"`
	// Name is the kernel's name of the process, at most 15 bytes.
	Name string `json:"name"`
	// Command is the arguments joined by spaces, or "[name]" without arguments.
	// Unprintable characters are escaped as in Go, and it ends in "…" if it is
	// longer than maxCommandBytes.
	Command string `json:"command"`
}

// maxCommandBytes bounds a command line, since processes can make theirs
// arbitrarily long.
const maxCommandBytes = 4096

// commandLine joins arguments for display.
func commandLine(args []string, name string) string {
	line := strings.Join(args, " ")
	if strings.TrimSpace(line) == "" {
		return "[" + printable(name) + "]"
	}
	if len(line) > maxCommandBytes {
		cut := maxCommandBytes
		for cut > 0 && !utf8.RuneStart(line[cut]) {
			cut--
		}
		return printable(line[:cut]) + "…"
	}
	return printable(line)
}

// printable escapes characters that could move, hide or reorder text on a screen:
// control characters, bidirectional overrides, invalid UTF-8.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// query selects and sorts processes.
type query struct {
	sort    string
	reverse bool   // descending
	task    string // exact; "" for all
	text    string // contained in task, user or command, in any case; "" for all
	list    bool   // flat list instead of a tree
}

// column is a key to sort by.
type column struct {
	key     string
	title   string
	numeric bool
	falling bool // descending by default
	compare func(a, b Process) int
}

// columns are all keys to sort by, in the order of the page.
func columns() []column {
	return []column{
		{key: "pid", title: "PID", numeric: true, compare: by(func(p Process) int { return p.PID })},
		{key: "ppid", title: "Parent", numeric: true, compare: by(func(p Process) int { return p.PPID })},
		{key: "task", title: "Task", compare: by(func(p Process) string { return p.Task })},
		{key: "user", title: "User", compare: by(func(p Process) string { return p.User })},
		{key: "state", title: "State", compare: by(func(p Process) string { return p.State })},
		{key: "threads", title: "Threads", numeric: true, falling: true, compare: by(func(p Process) int { return p.Threads })},
		{key: "cpu", title: "CPU", numeric: true, falling: true, compare: by(func(p Process) float64 { return p.CPUPercent })},
		{key: "time", title: "CPU time", numeric: true, falling: true, compare: by(func(p Process) float64 { return p.CPUSeconds })},
		{key: "memory", title: "Memory", numeric: true, falling: true, compare: by(func(p Process) uint64 { return p.MemoryBytes })},
		{key: "started", title: "Started", numeric: true, falling: true, compare: func(a, b Process) int { return a.StartedAt.Compare(b.StartedAt) }},
		{key: "command", title: "Command", compare: by(func(p Process) string { return p.Command })},
	}
}

func by[T cmp.Ordered](value func(Process) T) func(a, b Process) int {
	return func(a, b Process) int { return cmp.Compare(value(a), value(b)) }
}

// selected returns the selected processes in the query's order. It does not modify
// the given slice. Ties are sorted by PID.
func (q query) selected(all []Process) []Process {
	out := make([]Process, 0, len(all))
	for _, p := range all {
		if q.matches(p) {
			out = append(out, p)
		}
	}
	cols := columns()
	i := slices.IndexFunc(cols, func(c column) bool { return c.key == q.sort })
	slices.SortFunc(out, func(a, b Process) int {
		n := cols[i].compare(a, b)
		if q.reverse {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.PID, b.PID))
	})
	return out
}

func (q query) matches(p Process) bool {
	if q.task != "" && p.Task != q.task {
		return false
	}
	if q.text == "" {
		return true
	}
	return strings.Contains(strings.ToLower(p.Task+"\n"+p.User+"\n"+p.Command), strings.ToLower(q.text))
}

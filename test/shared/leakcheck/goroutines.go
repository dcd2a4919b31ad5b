package leakcheck

import (
	"runtime"
	"slices"
	"strings"
)

// goroutines records the goroutines of this process by ID and creator. The calling goroutine and
// goroutines of package testing, which start and end with tests, do not count.
func (Scope) goroutines(snap Snapshot) error {
	for i, trace := range strings.Split(stacks(), "\n\n") {
		head, _, _ := strings.Cut(trace, " [")
		origin := createdBy(trace)
		if i == 0 || origin == "" || passing(origin) {
			continue
		}
		snap[Entry{Goroutine, strings.TrimPrefix(head, "goroutine ") + " made by " + origin}]++
	}
	return nil
}

// stacks returns the trace of every goroutine, the caller's first.
func stacks() string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			return strings.TrimSpace(string(buf[:n]))
		}
		buf = make([]byte, 2*len(buf))
	}
}

// createdBy returns the function that started the goroutine of a trace, or "" for the main
// goroutine.
func createdBy(trace string) string {
	_, origin, found := strings.Cut(trace, "\ncreated by ")
	if !found {
		return ""
	}
	origin, _, _ = strings.Cut(origin, "\n")
	origin, _, _ = strings.Cut(origin, " in goroutine ")
	return origin
}

func passing(origin string) bool {
	return slices.ContainsFunc([]string{"testing.", "os/signal.", "runtime."}, func(prefix string) bool {
		return strings.HasPrefix(origin, prefix)
	})
}

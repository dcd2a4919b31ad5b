package pod

import (
	"sync"
	"time"
)

// Phase is a timed part of a task's start.
type Phase struct {
	Name string
	Took time.Duration
	// Beside is true if it ran in parallel to others and does not add to the total.
	Beside bool
}

// stopwatch measures consecutive phases of a start. It is cheap enough to run
// always.
type stopwatch struct {
	last   time.Time
	phases []Phase
}

func newStopwatch() stopwatch { return stopwatch{last: time.Now()} }

// lap ends the current phase and starts the next.
func (s *stopwatch) lap(name string) {
	now := time.Now()
	s.phases = append(s.phases, Phase{Name: name, Took: now.Sub(s.last)})
	s.last = now
}

// beside adds phases that ran in parallel.
func (s *stopwatch) beside(other stopwatch) {
	for _, phase := range other.phases {
		phase.Beside = true
		s.phases = append(s.phases, phase)
	}
}

// beside runs do in a goroutine. The returned function waits for do and returns its
// error; it can be called repeatedly.
func beside(do func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return sync.OnceValue(func() error { return <-done })
}

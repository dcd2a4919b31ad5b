package pod

import (
	"sync"
	"time"
)

// Step is a part of a task's start, and how long it took.
type Step struct {
	Name string
	Took time.Duration
	// Beside says that others went on meanwhile: of the whole it is no part.
	Beside bool
}

// stopwatch measures the steps of a start, one after the other. It costs a
// look at the clock for each and room for a few numbers, so it always runs.
type stopwatch struct {
	last  time.Time
	steps []Step
}

func newStopwatch() stopwatch { return stopwatch{last: time.Now()} }

// lap ends a step, and begins the next.
func (s *stopwatch) lap(name string) {
	now := time.Now()
	s.steps = append(s.steps, Step{Name: name, Took: now.Sub(s.last)})
	s.last = now
}

// beside adds the steps of another, which ran at the same time.
func (s *stopwatch) beside(other stopwatch) {
	for _, step := range other.steps {
		step.Beside = true
		s.steps = append(s.steps, step)
	}
}

// beside begins something to go on with while it is done. What is returned
// waits for its end, and tells of it, as often as it is asked.
func beside(do func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return sync.OnceValue(func() error { return <-done })
}

package pod

import (
	"sync"
	"time"
)

// Step is a timed part of a task's start.
type Step struct {
	Name string
	Took time.Duration
	// Beside is true if it ran in parallel to others and does not add to the total.
	Beside bool
}

// stopwatch measures consecutive parts of a start. It is cheap enough to run
// always.
type stopwatch struct {
	last  time.Time
	steps []Step
}

func newStopwatch() stopwatch { return stopwatch{last: time.Now()} }

// lap ends the current part and starts the next.
func (s *stopwatch) lap(name string) {
	now := time.Now()
	s.steps = append(s.steps, Step{Name: name, Took: now.Sub(s.last)})
	s.last = now
}

// beside adds parts that ran in parallel.
func (s *stopwatch) beside(other stopwatch) {
	for _, step := range other.steps {
		step.Beside = true
		s.steps = append(s.steps, step)
	}
}

// beside runs do in a goroutine. The returned function waits for do and returns its
// error; it can be called repeatedly.
func beside(do func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return sync.OnceValue(func() error { return <-done })
}

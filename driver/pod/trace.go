package pod

import "time"

// Step is a part of a task's start, and how long it took.
type Step struct {
	Name string
	Took time.Duration
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
	s.steps = append(s.steps, Step{name, now.Sub(s.last)})
	s.last = now
}

package pod

import (
	"sync"
	"time"
)

// Phase is a timed part of a task's start.
type Phase struct {
	Name string
	Took time.Duration
	// Parallel is true if it ran in parallel with others and does not add to the total.
	Parallel bool
}

// stopwatch measures consecutive phases of a start. It is cheap enough to run
// always.
type stopwatch struct {
	last   time.Time
	phases []Phase
}

func newStopwatch() stopwatch { return stopwatch{last: time.Now()} }

// endPhase ends the current phase and starts the next.
func (s *stopwatch) endPhase(name string) {
	now := time.Now()
	s.phases = append(s.phases, Phase{Name: name, Took: now.Sub(s.last)})
	s.last = now
}

// addParallel adds phases that ran in parallel.
func (s *stopwatch) addParallel(other stopwatch) {
	for _, phase := range other.phases {
		phase.Parallel = true
		s.phases = append(s.phases, phase)
	}
}

// parallel runs do in a goroutine. The returned function waits for do and returns its
// error; it can be called repeatedly.
func parallel(do func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return sync.OnceValue(func() error { return <-done })
}

package limit

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Use is the purpose of a slot.
type Use int

// Purposes of slots.
const (
	Job     Use = iota // may take any slot
	Request            // may not use reserved slots
	Watch              // long-lived: leaves a quarter of the slots for requests
	uses
)

// Slots limits connections to an upstream server. Some are reserved for jobs, and each client has
// a limit. The zero value has no limits.
type Slots struct {
	Total, Reserved, PerClient int // Total 0 means unlimited

	mu      sync.Mutex
	used    [uses]int
	by      map[Client]*[uses]int
	waiting []*waiter // longest first
}

type waiter struct {
	client  Client
	use     Use
	granted chan struct{}
}

// Acquire waits for a slot until ctx ends, or for at most wait, and then returns ErrClient or
// ErrTotal. The caller must call release once.
func (s *Slots) Acquire(ctx context.Context, c Client, use Use, wait time.Duration) (release func(), err error) {
	s.mu.Lock()
	err = s.missing(c, use)
	if err == nil {
		s.add(c, use, 1)
		s.mu.Unlock()
		return func() { s.release(c, use) }, nil
	}
	w := &waiter{c, use, make(chan struct{})}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.granted:
		return func() { s.release(c, use) }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, w)
	if i < 0 { // granted in the meantime
		return func() { s.release(c, use) }, nil
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	if ctx.Err() == nil {
		err = s.missing(c, use)
	}
	if err == nil { // a slot is free, but others were first
		err = ErrTotal
	}
	return nil, err
}

func (s *Slots) release(c Client, use Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(c, use, -1)
	s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool {
		if s.missing(w.client, w.use) != nil {
			return false
		}
		s.add(w.client, w.use, 1)
		close(w.granted)
		return true
	})
}

func (s *Slots) add(c Client, use Use, n int) {
	s.used[use] += n
	of := s.by[c]
	if of == nil {
		if s.by == nil {
			s.by = map[Client]*[uses]int{}
		}
		of = &[uses]int{}
		s.by[c] = of
	}
	of[use] += n
	if *of == ([uses]int{}) {
		delete(s.by, c)
	}
}

// missing returns the error of the limit that keeps a client from a slot, or nil.
func (s *Slots) missing(c Client, use Use) error {
	if s.Total == 0 {
		return nil
	}
	var of [uses]int
	if has := s.by[c]; has != nil {
		of = *has
	}
	free := s.Total - s.used[Job] - s.used[Request] - s.used[Watch]
	if use == Job {
		return over(of[Job] >= s.PerClient, free <= 0)
	}
	open := s.Total - s.Reserved
	client := of[Request]+of[Watch] >= s.PerClient
	total := free <= 0 || s.used[Request]+s.used[Watch] >= open
	if use == Watch {
		client = client || of[Watch] >= maxWatches(s.PerClient)
		total = total || s.used[Watch] >= maxWatches(open)
	}
	return over(client, total)
}

// maxWatches leaves a quarter for short requests.
func maxWatches(of int) int { return of - of/4 }

func over(client, total bool) error {
	switch {
	case client:
		return ErrClient
	case total:
		return ErrTotal
	}
	return nil
}

// Used returns the number of slots in use, by Use.
func (s *Slots) Used() [uses]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

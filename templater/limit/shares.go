package limit

import (
	"errors"
	"sync"
)

// Errors for a limit that is reached.
var (
	ErrClient = errors.New("the limit for one client is reached")
	ErrTotal  = errors.New("the limit for all clients together is reached")
)

// Shares limits an amount, in total and per client; the zero Client is limited by the total only.
// The zero value has no limits.
type Shares struct {
	Total, PerClient int64 // 0 means unlimited

	mu   sync.Mutex
	used int64
	by   map[Client]int64
}

// Take adds n to a client's amount, or returns ErrClient or ErrTotal.
func (s *Shares) Take(c Client, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.IsValid() && s.PerClient > 0 && s.by[c]+n > s.PerClient:
		return ErrClient
	case s.Total > 0 && s.used+n > s.Total:
		return ErrTotal
	}
	s.add(c, n)
	return nil
}

// Give subtracts n from a client's amount.
func (s *Shares) Give(c Client, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(c, -n)
}

func (s *Shares) add(c Client, n int64) {
	if s.by == nil {
		s.by = map[Client]int64{}
	}
	s.used += n
	if s.by[c] += n; s.by[c] == 0 {
		delete(s.by, c)
	}
}

// Used returns the total amount of all clients.
func (s *Shares) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

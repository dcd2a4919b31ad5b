package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// monitor keeps the latest snapshot. Its methods other than run are safe for
// concurrent use.
type monitor struct {
	sampler  *sampler
	interval time.Duration
	log      *slog.Logger

	mu     sync.RWMutex
	latest Snapshot
}

// newMonitor takes the first sample, so that a snapshot is always available.
func newMonitor(s *sampler, interval time.Duration, log *slog.Logger) (*monitor, error) {
	first, err := s.sample()
	if err != nil {
		return nil, err
	}
	return &monitor{sampler: s, interval: interval, log: log, latest: first}, nil
}

// run samples until ctx is done. If a sample fails, the previous one is kept; the
// error is logged once until a sample succeeds again.
func (m *monitor) run(ctx context.Context) {
	ticker := time.NewTicker(m.interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		snapshot, err := m.sampler.sample()
		if err != nil {
			if !failing {
				m.log.Error("no sample", "error", err)
			}
			failing = true
			continue
		}
		failing = false
		m.mu.Lock()
		m.latest = snapshot
		m.mu.Unlock()
	}
}

// snapshot returns the latest snapshot. Its slice is shared and must not be modified.
func (m *monitor) snapshot() Snapshot {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.latest
}

// stale reports whether sampling has failed or stood still for several
// intervals.
func (m *monitor) stale(now time.Time) bool {
	return now.Sub(m.snapshot().SampledAt) > 5*m.interval+time.Second
}

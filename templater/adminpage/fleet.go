package adminpage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

const (
	scanTimeout    = 10 * time.Minute
	explainTimeout = 10 * time.Second
	maxExplained   = 64 // cached explanations
	maxAtOnce      = 2  // concurrent reads for explanations
)

// errUnknown means that the last reading does not contain the job.
var errUnknown = errors.New("the last reading of the fleet contains no such job")

// Source reads a cluster.
type Source interface {
	// Scan judges all jobs, sorted by namespace and ID.
	Scan(ctx context.Context) ([]*fleet.Job, error)
	// Explain explains the sidecars of one job, without secrets.
	Explain(ctx context.Context, of fleet.Ref) (*explanation.Job, error)
}

// Fleet caches the jobs of a cluster. It reads them in the background, only while the
// page is in use and at a limited rate. Requests never wait for a reading.
type Fleet struct {
	source Source
	every  time.Duration
	log    *slog.Logger
	wanted chan struct{}
	slots  chan struct{}

	mu        sync.Mutex
	now       *Reading
	explained map[fleet.Ref]*explanation.Job // since the last reading
}

// Reading is the result of reading the jobs. It is immutable.
type Reading struct {
	Number uint64 // of the attempt; 0 before the first has ended
	Jobs   []*fleet.Job
	At     time.Time // when Jobs were read; zero if never
	Took   time.Duration
	Err    error // of the last attempt; Jobs are from an earlier one
	byRef  map[fleet.Ref]*fleet.Job
}

// NewFleet returns a Fleet that reads from source and waits at least every between two
// readings.
func NewFleet(source Source, every time.Duration, log *slog.Logger) *Fleet {
	return &Fleet{source: source, every: every, log: log, wanted: make(chan struct{}, 1), slots: make(chan struct{}, maxAtOnce), now: &Reading{}}
}

// Run reads on demand until the context ends.
func (f *Fleet) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wanted:
		}
		f.read(ctx)
		rest := time.NewTimer(f.every)
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
	}
}

func (f *Fleet) read(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	begin := time.Now()
	jobs, err := f.source.Scan(limited)
	if ctx.Err() != nil {
		return // shutting down
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	next := *f.now
	next.Number++
	if next.Err = err; err != nil {
		f.log.Error("the jobs cannot be read for the page", "error", err.Error())
	} else {
		next.Jobs, next.At, next.Took = jobs, time.Now(), time.Since(begin)
		next.byRef = make(map[fleet.Ref]*fleet.Job, len(jobs))
		for _, j := range jobs {
			next.byRef[j.Ref()] = j
		}
		f.explained = nil
	}
	f.now = &next
}

// Look returns the last reading and requests a new one.
func (f *Fleet) Look() *Reading {
	select {
	case f.wanted <- struct{}{}:
	default: // already requested
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Explain explains a job of the last reading. The job is read at most once between two
// readings, so that clients cannot load the cluster at will.
func (f *Fleet) Explain(ctx context.Context, of fleet.Ref) (*explanation.Job, error) {
	if f.Look().Job(of) == nil {
		return nil, errUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	if known := f.known(of); known != nil {
		return known, nil
	}
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("explain job %s: %w", of, ctx.Err())
	}
	defer func() { <-f.slots }()
	if known := f.known(of); known != nil {
		return known, nil // another request has read it meanwhile
	}
	number := f.Look().Number
	told, err := f.source.Explain(ctx, of)
	if err != nil {
		return nil, err
	}
	f.keep(number, of, told)
	return told, nil
}

func (f *Fleet) known(of fleet.Ref) *explanation.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.explained[of]
}

func (f *Fleet) keep(number uint64, of fleet.Ref, told *explanation.Job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now.Number != number {
		return
	}
	if f.explained == nil || len(f.explained) >= maxExplained {
		f.explained = map[fleet.Ref]*explanation.Job{}
	}
	f.explained[of] = told
}

// Job returns a job, nil if there is none.
func (r *Reading) Job(of fleet.Ref) *fleet.Job { return r.byRef[of] }

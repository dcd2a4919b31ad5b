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
	mostExplained  = 64 // jobs whose explanation is kept
	mostAtOnce     = 2  // jobs that are read to be explained
)

// errUnknown is that of a job which the last reading has not found.
var errUnknown = errors.New("the fleet, as it was last read, has no such job")

// Source reads a cluster.
type Source interface {
	// Scan judges all jobs, by namespace and ID.
	Scan(ctx context.Context) ([]*fleet.Job, error)
	// Explain tells about the sidecars of one job, without secrets.
	Explain(ctx context.Context, of fleet.Ref) (*explanation.Job, error)
}

// Fleet is what is known of a cluster's jobs. They are read in the background, only
// when somebody looks, and no more often than it is told: a look never waits for a
// reading.
type Fleet struct {
	source Source
	every  time.Duration
	log    *slog.Logger
	wanted chan struct{}
	slots  chan struct{}

	mu        sync.Mutex
	now       *Reading
	explained map[fleet.Ref]*explanation.Job // as of now
}

// Reading is what came of reading the jobs. It is not changed.
type Reading struct {
	Number uint64 // of the attempt; 0 before the first has ended
	Jobs   []*fleet.Job
	At     time.Time // when Jobs were read; zero if they never were
	Took   time.Duration
	Err    error // of the last attempt; Jobs are older then
	byRef  map[fleet.Ref]*fleet.Job
}

// NewFleet reads from a source. Between the end of a reading and the begin of the next
// there is at least the time that every says.
func NewFleet(source Source, every time.Duration, log *slog.Logger) *Fleet {
	return &Fleet{source: source, every: every, log: log, wanted: make(chan struct{}, 1), slots: make(chan struct{}, mostAtOnce), now: &Reading{}}
}

// Run reads when it is wanted, until the context ends.
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
		return // it ends
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

// Look is what is known now, and makes sure that it is read again before long.
func (f *Fleet) Look() *Reading {
	select {
	case f.wanted <- struct{}{}:
	default: // it is wanted already
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Explain tells about a job that is in the last reading. The job is read for that, once
// between two readings: whoever asks can not make the cluster read at will.
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
		return known, nil // somebody else has asked meanwhile
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
	if f.explained == nil || len(f.explained) >= mostExplained {
		f.explained = map[fleet.Ref]*explanation.Job{}
	}
	f.explained[of] = told
}

// Job is one of the jobs, nil if there is none.
func (r *Reading) Job(of fleet.Ref) *fleet.Job { return r.byRef[of] }

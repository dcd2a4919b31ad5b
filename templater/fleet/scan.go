package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Scan reads the jobs of a cluster and judges them. It keeps only the results in memory,
// and one page of the list.
type Scan struct {
	Nomad  Nomad
	Rules  *Rules
	Ask    Ask
	Filter Filter
	// IDs limits the scan to these jobs; empty for all.
	IDs []string
	// Parallel is the number of concurrent reads.
	Parallel int
	// Progress is called with the number of jobs read; nil for none. Calls do not overlap.
	Progress func(jobs int)

	mu   sync.Mutex
	done int
	jobs []*Job
}

// Run returns the selected jobs, sorted by namespace and ID. Unreadable jobs are included
// as such; the error is about the list, or the context's. Jobs that Nomad derived from
// others are skipped, since they equal their parents.
func (s *Scan) Run(ctx context.Context) ([]*Job, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.Parallel))
	err := s.pages(ctx, func(of Listed) {
		group.Go(func() error { return s.one(ctx, of) })
	})
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, err
	}
	slices.SortFunc(s.jobs, func(a, b *Job) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return s.jobs, nil
}

// pages calls each for every job to read; each may block.
func (s *Scan) pages(ctx context.Context, each func(Listed)) error {
	for token := ""; ; {
		page, next, err := s.Nomad.Jobs(ctx, s.Ask, token)
		if err != nil {
			return err
		}
		for _, of := range page {
			if of.Parent == "" && strings.HasPrefix(of.ID, s.Ask.Prefix) && (len(s.IDs) == 0 || slices.Contains(s.IDs, of.ID)) {
				each(of)
			}
		}
		if next == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		if next == token {
			return fmt.Errorf("list jobs: Nomad returned the page after %q twice", token)
		}
		token = next
	}
}

func (s *Scan) one(ctx context.Context, of Listed) error {
	job, err := s.read(ctx, of.Ref)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	if s.Progress != nil {
		s.Progress(s.done)
	}
	switch {
	case errors.Is(err, ErrGone):
		return nil
	case err != nil:
		job = &Job{Namespace: of.Namespace, ID: of.ID, Unreadable: true, Problems: []string{err.Error()}, Groups: []*Group{}}
	}
	if of.Paused && job.Activity == Running {
		job.Activity = Paused
	}
	if s.Filter.Narrow(job) {
		s.jobs = append(s.jobs, job)
	}
	return nil
}

func (s *Scan) read(ctx context.Context, of Ref) (*Job, error) {
	raw, err := s.Nomad.Job(ctx, of)
	if err != nil {
		return nil, err
	}
	return s.Rules.Inspect(raw)
}

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

// Scan reads the jobs of a cluster and judges them. Of a job only the judgement is kept
// in memory; of the list, one page.
type Scan struct {
	Nomad  Nomad
	Rules  *Rules
	Ask    Ask
	Filter Filter
	// IDs limits the scan to these jobs; empty for all.
	IDs []string
	// Parallel is how many jobs are read at once.
	Parallel int
	// Progress learns how many jobs were looked at; nil for none. Calls do not overlap.
	Progress func(jobs int)

	mu   sync.Mutex
	done int
	jobs []*Job
}

// Run gives the jobs that the filter leaves, by namespace and ID. A job that cannot be
// read is among them and says so; an error is that of the list, or of the context.
// Jobs that Nomad made of others are not looked at, since they are what those were.
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

// pages calls each for every job to look at; each may block.
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
			return fmt.Errorf("list jobs: Nomad's page after %q is that page again", token)
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

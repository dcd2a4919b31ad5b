package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Upgrade executes steps in batches. A batch starts when all jobs of the previous one
// are healthy.
type Upgrade struct {
	Nomad   Nomad
	Rules   *Rules
	Journal *Journal
	Batch   int
	// Eject means that the steps come from a Planner that ejects.
	Eject bool
	// SkipFailed continues although jobs that failed earlier have not changed.
	SkipFailed bool
	// Report is called with each result, one line per call. Calls do not overlap.
	Report func(of Ref, line string)

	mu sync.Mutex
}

// report and write may be called concurrently by goroutines that wait for a batch.
func (u *Upgrade) report(of Ref, format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.Report(of, fmt.Sprintf(format, args...))
}

func (u *Upgrade) write(what string, s *Step) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.Journal.write(event{what, s.Namespace, s.ID, s.From, s.To, s.evaluation})
}

// Run executes the planned steps. After a batch with a failed job it stops with
// ErrStopped.
func (u *Upgrade) Run(ctx context.Context, steps []*Step) error {
	planned := slices.DeleteFunc(slices.Clone(steps), func(s *Step) bool { return s.Outcome != Planned })
	if err := u.settle(ctx, planned); err != nil {
		return err
	}
	return u.batches(ctx, planned, u.register, eventHealthy)
}

// batches starts the steps of each batch and waits for them.
func (u *Upgrade) batches(ctx context.Context, steps []*Step, begin func(context.Context, *Step) error, done string) error {
	for batch := range slices.Chunk(steps, max(1, u.Batch)) {
		var stop error
		var begun []*Step
		for _, s := range batch {
			if stop = begin(ctx, s); stop != nil {
				u.report(s.Ref(), "failed: %s", stop)
				break
			}
			if s.Outcome == Registered {
				begun = append(begun, s)
			}
		}
		if err := errors.Join(stop, u.wait(ctx, begun, done)); err != nil {
			return fmt.Errorf("%w: %w", ErrStopped, err)
		}
	}
	return nil
}

// register registers a job if it has not changed since the plan.
func (u *Upgrade) register(ctx context.Context, s *Step) error {
	fail := func(err error) error {
		s.Outcome, s.Why = Failed, err.Error()
		return fmt.Errorf("job %s: %w", s.Ref(), err)
	}
	raw, err := u.Nomad.Job(ctx, s.Ref())
	if err != nil {
		return fail(err)
	}
	now, err := readHeader(raw)
	if err != nil {
		return fail(err)
	}
	if now.JobModifyIndex != s.modifyIndex {
		return fail(errors.New("it was registered again after the plan"))
	}
	made, diags := u.Rules.remake(raw, s.Ref().String(), u.Eject)
	if diags.HasErrors() {
		return fail(errors.New(strings.Join(texts(diags), "; ")))
	}
	if bytes.Equal(made, raw) {
		s.Outcome = Unchanged
		return nil
	}
	if err := u.write(eventBegin, s); err != nil {
		return fail(err)
	}
	s.evaluation, err = u.Nomad.Apply(ctx, Change{Ref: s.Ref(), Job: made, From: s.From, ModifyIndex: s.modifyIndex})
	if err != nil {
		return fail(err)
	}
	return u.registered(ctx, s, eventRegistered)
}

// registered records the version that a step created.
func (u *Upgrade) registered(ctx context.Context, s *Step, what string) error {
	s.Outcome = Registered
	raw, err := u.Nomad.Job(ctx, s.Ref())
	if err == nil {
		var now *header
		if now, err = readHeader(raw); err == nil {
			s.To = now.Version
			err = u.write(what, s)
		}
	}
	if err != nil {
		s.Outcome, s.Why = Failed, err.Error()
		return fmt.Errorf("job %s is registered, but: %w", s.Ref(), err)
	}
	u.report(s.Ref(), "registered as version %d", s.To)
	return nil
}

// wait waits for all steps and returns the errors of failed ones.
func (u *Upgrade) wait(ctx context.Context, steps []*Step, done string) error {
	errs := make([]error, len(steps))
	var all sync.WaitGroup
	for i, s := range steps {
		all.Add(1)
		go func() {
			defer all.Done()
			errs[i] = u.waitFor(ctx, s, done)
		}()
	}
	all.Wait()
	return errors.Join(errs...)
}

func (u *Upgrade) waitFor(ctx context.Context, s *Step, done string) error {
	var err error
	if s.evaluation != "" {
		err = u.Nomad.Wait(ctx, s.Ref(), s.evaluation, func(line string) { u.report(s.Ref(), "%s", line) })
	}
	switch {
	case ctx.Err() != nil: // the next run determines its result
		return ctx.Err()
	case err != nil:
		s.Outcome, s.Why = Failed, err.Error()
		u.report(s.Ref(), "failed: %s", err)
		if done == eventHealthy {
			err = errors.Join(err, u.write(eventFailed, s))
		}
		return fmt.Errorf("job %s: %w", s.Ref(), err)
	}
	s.Outcome = Healthy
	if done == eventReverted {
		s.Outcome = Reverted
	}
	u.report(s.Ref(), "%s", s.Outcome)
	return u.write(done, s)
}

// settle checks jobs whose result an earlier run did not record, or that failed. A job
// that has not changed since and is not to be changed now stops the upgrade.
func (u *Upgrade) settle(ctx context.Context, planned []*Step) error {
	if u.SkipFailed {
		return nil
	}
	for _, e := range slices.Clone(u.Journal.entries) {
		open := e.last.Event == eventRegistered || e.last.Event == eventFailed
		if !open || slices.ContainsFunc(planned, func(s *Step) bool { return s.Ref() == e.Ref }) {
			continue
		}
		raw, err := u.Nomad.Job(ctx, e.Ref)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStopped, err)
		}
		if now, err := readHeader(raw); err != nil || now.Version != e.last.To || now.Stop {
			continue // the job was changed since
		}
		s := &Step{Namespace: e.Namespace, ID: e.ID, From: e.last.From, To: e.last.To, evaluation: e.last.Evaluation}
		u.report(e.Ref, "registered earlier as version %d", s.To)
		if err := u.waitFor(ctx, s, eventHealthy); err != nil {
			return fmt.Errorf("%w: it has not changed since an earlier run: %w", ErrStopped, err)
		}
	}
	return nil
}

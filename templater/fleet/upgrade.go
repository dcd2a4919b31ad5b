package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Upgrade executes steps in batches. A batch starts when all jobs of the previous one
// are healthy.
type Upgrade struct {
	// Planner planned the steps. It plans a job again if its counts have changed since.
	Planner
	Journal *Journal
	Batch   int
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
	return u.Journal.write(event{what, s.Namespace, s.ID, s.From, s.To, s.evaluation, s.made})
}

// Run executes the planned steps. After a batch with a failed job it stops with
// ErrStopped. A job that cannot be registered is skipped.
func (u *Upgrade) Run(ctx context.Context, steps []*Step) error {
	if err := u.settle(ctx, steps); err != nil {
		return err
	}
	return u.batches(ctx, onlyPlanned(steps), u.register, eventHealthy)
}

func onlyPlanned(steps []*Step) []*Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s *Step) bool { return s.Outcome != Planned })
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

// register registers a job if it has not changed since the plan. If only its counts have, as by
// an autoscaler, the job is planned again.
func (u *Upgrade) register(ctx context.Context, s *Step) error {
	err := ErrChanged
	for n := 0; n < mostTries && errors.Is(err, ErrChanged); n++ {
		err = u.tryRegister(ctx, s)
	}
	return u.unlessRefused(s, err)
}

// unlessRefused turns an error that concerns only this job, which is unchanged, into the reason to
// skip it.
func (u *Upgrade) unlessRefused(s *Step, err error) error {
	var one bool
	for _, class := range []error{ErrChanged, ErrRefused, ErrGone, errSkip} {
		one = one || errors.Is(err, class)
	}
	switch {
	case err != nil && (!one || s.Outcome == Registered):
		s.Outcome, s.Why = Failed, err.Error()
		return fmt.Errorf("job %s: %w", s.Ref(), err)
	case err != nil:
		s.skip("%s", err)
	}
	if s.Outcome == Skipped {
		u.report(s.Ref(), "skipped: %s", s.Why)
	}
	return nil
}

// errSkip is wrapped by the reasons to skip a job.
var errSkip = errors.New("not changed")

// tryRegister returns ErrChanged if the counts of the job have changed since the plan.
func (u *Upgrade) tryRegister(ctx context.Context, s *Step) error {
	raw, err := u.Nomad.Job(ctx, s.Ref())
	if err != nil {
		return err
	}
	now, err := readStored(raw)
	switch {
	case err != nil:
		return err
	case now.content != s.content:
		return errEdited()
	case now.JobModifyIndex != s.modifyIndex:
		return u.planAgain(ctx, s)
	}
	made, err := u.remake(s, raw)
	if err != nil {
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	if bytes.Equal(made, raw) {
		s.Outcome = Unchanged
		return nil
	}
	return u.apply(ctx, s, Change{Ref: s.Ref(), Job: made, From: s.From, ModifyIndex: s.modifyIndex})
}

func errEdited() error {
	return fmt.Errorf("%w: it was registered again after the plan; run the command again", errSkip)
}

// planAgain plans a job after its counts have changed. It returns ErrChanged if the job can now
// be registered.
func (u *Upgrade) planAgain(ctx context.Context, s *Step) error {
	u.report(s.Ref(), "scaled since the plan, planned again")
	before := s.content
	switch err := u.step(ctx, s); {
	case err != nil || s.Outcome != Planned:
		return err
	case s.content != before:
		return errEdited()
	}
	return ErrChanged
}

// apply carries out a change and records it.
func (u *Upgrade) apply(ctx context.Context, s *Step, c Change) error {
	if err := u.write(eventBegin, s); err != nil {
		return err
	}
	evaluation, err := u.Nomad.Apply(ctx, c)
	if errors.Is(err, ErrChanged) || errors.Is(err, ErrRefused) {
		if failed := u.write(eventRefused, s); failed != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	s.Outcome, s.evaluation = Registered, evaluation
	now, err := u.readBack(ctx, s)
	if err != nil {
		return fmt.Errorf("it is registered, but: %w", err)
	}
	s.To = now.Version
	if err := u.write(eventRegistered, s); err != nil {
		return fmt.Errorf("it is registered, but: %w", err)
	}
	u.report(s.Ref(), "registered as version %d", s.To)
	return u.compare(now, c.Job)
}

// readBack reads a job after its registration.
func (u *Upgrade) readBack(ctx context.Context, s *Step) (*header, error) {
	raw, err := u.Nomad.Job(ctx, s.Ref())
	if err != nil {
		return nil, err
	}
	now, err := readHeader(raw)
	if err == nil {
		s.registered = now.Version
	}
	return now, err
}

// compare returns an error if the registered job has other marks than the one that was sent.
func (u *Upgrade) compare(now *header, sent []byte) error {
	want, err := readHeader(sent)
	if err != nil {
		return err
	}
	if wrong := now.marks().unlike(want.marks()); wrong != "" {
		return fmt.Errorf("it is registered, but not as it was sent: %s. %s", wrong, u.cause())
	}
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
		err = u.Nomad.Wait(ctx, s.Ref(), s.evaluation, s.registered, func(line string) { u.report(s.Ref(), "%s", line) })
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

// settle checks jobs without a recorded result of an earlier run, and jobs that failed. A failed
// job stops the upgrade if it has not changed since and this run does not change it, or if this run
// would register the same job again, which Nomad may have reverted. With SkipFailed such jobs are
// skipped.
func (u *Upgrade) settle(ctx context.Context, steps []*Step) error {
	for _, e := range slices.Clone(u.Journal.entries) {
		i := slices.IndexFunc(steps, func(s *Step) bool { return s.Outcome == Planned && s.Ref() == e.Ref })
		open := e.last.Event == eventRegistered || e.last.Event == eventFailed
		var err error
		switch {
		case i >= 0 && e.last.Event == eventFailed && e.last.Made == steps[i].made:
			err = u.failedBefore(steps[i], e)
		case i < 0 && open && !u.SkipFailed:
			err = u.settleOpen(ctx, e)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStopped, err)
		}
	}
	return nil
}

func (u *Upgrade) failedBefore(s *Step, e *entry) error {
	s.skip("version %d, which was the same, failed in an earlier run", e.last.To)
	u.report(s.Ref(), "skipped: %s", s.Why)
	if u.SkipFailed {
		return nil
	}
	return fmt.Errorf("job %s: %s, and is not registered again. Upgrade the catalog, or continue without this job with -skip-failed", s.Ref(), s.Why)
}

// settleOpen waits for a job that an earlier run registered, unless it was changed since.
func (u *Upgrade) settleOpen(ctx context.Context, e *entry) error {
	raw, err := u.Nomad.Job(ctx, e.Ref)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if now, err := readHeader(raw); err != nil || now.Version != e.last.To || now.Stop {
		return nil
	}
	s := &Step{Namespace: e.Namespace, ID: e.ID, From: e.last.From, To: e.last.To, made: e.last.Made, registered: e.last.To, evaluation: e.last.Evaluation}
	u.report(e.Ref, "registered earlier as version %d", s.To)
	if err := u.waitFor(ctx, s, eventHealthy); err != nil {
		return fmt.Errorf("it has not changed since an earlier run: %w", err)
	}
	return nil
}

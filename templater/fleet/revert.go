package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// PlanRevert returns a step for each job in the journal, in reverse order: back
// to the version before the upgrade, unless the job has changed since.
func (u *Upgrade) PlanRevert(ctx context.Context) ([]*Step, error) {
	var steps []*Step
	for _, e := range slices.Backward(u.Journal.entries) {
		s := &Step{Namespace: e.Namespace, ID: e.ID, Outcome: Planned, From: e.last.To}
		steps = append(steps, s)
		raw, err := u.Nomad.Job(ctx, e.Ref)
		if errors.Is(err, ErrGone) {
			s.skip("the job no longer exists")
			continue
		}
		if err != nil {
			return nil, err
		}
		now, err := readHeader(raw)
		if err != nil {
			return nil, err
		}
		begun := e.last.Event == eventBegin
		switch {
		case begun && now.Version == e.last.From && now.Version == e.from:
			s.From = now.Version
			s.Outcome = Unchanged // it was not registered
		case begun && now.Version == e.last.From:
			s.back(now, e) // it was registered by an earlier run only
		case begun:
			s.skip("it is unknown whether version %d comes from the upgrade; check it and revert it to version %d by hand", now.Version, e.from)
		case now.Version != e.last.To:
			s.skip("it has changed since: it is at version %d, the upgrade created %d", now.Version, e.last.To)
		case now.Stop:
			s.skip("it is stopped")
		default:
			s.back(now, e)
		}
	}
	return steps, nil
}

func (s *Step) back(now *header, e *entry) {
	s.From, s.To = now.Version, e.from
	s.Changes = []string{fmt.Sprintf("version %d → content of version %d", s.From, s.To)}
}

// Revert executes the steps of PlanRevert.
func (u *Upgrade) Revert(ctx context.Context, steps []*Step) error {
	planned := slices.DeleteFunc(slices.Clone(steps), func(s *Step) bool { return s.Outcome != Planned })
	return u.batches(ctx, planned, u.goBack, eventReverted)
}

func (u *Upgrade) goBack(ctx context.Context, s *Step) error {
	evaluation, err := u.Nomad.Apply(ctx, Change{Ref: s.Ref(), To: s.To, From: s.From})
	if err != nil {
		s.Outcome, s.Why = Failed, err.Error()
		return fmt.Errorf("job %s: %w", s.Ref(), err)
	}
	s.Outcome, s.evaluation = Registered, evaluation
	u.report(s.Ref(), "reverting to version %d", s.To)
	return nil
}

package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// PlanRevert returns a step for each job in the journal, in reverse order: back
// to the version before the upgrade, unless the job has changed since other than in its counts.
func (u *Upgrade) PlanRevert(ctx context.Context) ([]*Step, error) {
	var steps []*Step
	for _, e := range slices.Backward(u.Journal.entries) {
		s := &Step{Namespace: e.Namespace, ID: e.ID, Outcome: Planned, From: e.last.To}
		steps = append(steps, s)
		if _, err := u.planBack(ctx, s); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// planBack plans to revert a job, or skips it with a reason. It returns the version to go back
// to, nil if there is none.
func (u *Upgrade) planBack(ctx context.Context, s *Step) (to *stored, err error) {
	now, versions, err := u.history(ctx, s.Ref())
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		s.skip("%s", err)
		return nil, nil
	}
	e := u.Journal.entry(s.Ref())
	begun := e.last.Event == eventBegin
	made, to := versions[e.last.To], versions[e.from]
	switch {
	case now.Stop:
		s.skip("it is stopped")
	case begun && now.Version == e.from:
		s.Outcome, s.From = Unchanged, now.Version // it was not registered
	case begun && now.Version != e.last.From:
		s.skip("it is unknown whether version %d comes from the upgrade; check it and revert it to version %d by hand", now.Version, e.from)
	case !begun && now.Version != e.last.To && to != nil && now.content == to.content:
		s.Outcome, s.From, s.Why = Unchanged, now.Version, fmt.Sprintf("version %d already has the content of version %d", now.Version, e.from)
	case !begun && now.Version != e.last.To && (made == nil || now.content != made.content):
		s.skip("it has changed since: it is at version %d, the upgrade created %d", now.Version, e.last.To)
	case to == nil:
		s.skip("Nomad no longer keeps version %d", e.from)
	default:
		s.From, s.To, s.modifyIndex, s.keepCounts = now.Version, e.from, now.JobModifyIndex, !now.sameCounts(to)
		s.Changes = []string{fmt.Sprintf("version %d → content of version %d", s.From, s.To)}
		if s.keepCounts {
			s.Changes[0] += ", with the current counts"
		}
		return to, nil
	}
	return nil, nil
}

// history returns the newest version of a job and all that Nomad keeps, by number.
func (u *Upgrade) history(ctx context.Context, of Ref) (now *stored, versions map[uint64]*stored, err error) {
	raws, err := u.Nomad.Versions(ctx, of)
	if err != nil {
		return nil, nil, err
	}
	versions = map[uint64]*stored{}
	for _, raw := range raws {
		v, err := readStored(raw)
		if err != nil {
			return nil, nil, err
		}
		versions[v.Version] = v
		if now == nil || v.Version > now.Version {
			now = v
		}
	}
	if now == nil {
		return nil, nil, ErrGone
	}
	return now, versions, nil
}

// Revert executes the steps of PlanRevert. A job that cannot be reverted is skipped.
func (u *Upgrade) Revert(ctx context.Context, steps []*Step) error {
	return u.batches(ctx, onlyPlanned(steps), u.goBack, eventReverted)
}

// goBack reverts a job. If it has changed since the plan, it plans it again.
func (u *Upgrade) goBack(ctx context.Context, s *Step) error {
	err := ErrChanged
	for n := 0; n < mostTries && errors.Is(err, ErrChanged); n++ {
		var to *stored
		if to, err = u.planBack(ctx, s); to != nil {
			err = u.tryBack(ctx, s, to)
		}
	}
	return u.unlessRefused(s, err)
}

// tryBack returns ErrChanged if the job has changed since it was planned. The API to revert would
// also bring back the counts of the version; where these differ, the version is registered again.
func (u *Upgrade) tryBack(ctx context.Context, s *Step, to *stored) error {
	change := Change{Ref: s.Ref(), To: s.To, From: s.From}
	if s.keepCounts {
		change = Change{Ref: s.Ref(), Job: to.raw, From: s.To, ModifyIndex: s.modifyIndex, KeepCounts: true}
	}
	evaluation, err := u.Nomad.Apply(ctx, change)
	if err != nil {
		return err
	}
	s.Outcome, s.evaluation = Registered, evaluation
	u.report(s.Ref(), "reverting to version %d", s.To)
	now, err := u.readBack(ctx, s)
	if err != nil {
		return fmt.Errorf("it is reverted, but: %w", err)
	}
	return u.compare(now, to.raw)
}

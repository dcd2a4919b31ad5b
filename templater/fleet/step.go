package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Outcomes of a step.
const (
	Planned    = "planned"    // not started yet
	Unchanged  = "unchanged"  // nothing to do
	Skipped    = "skipped"    // see Why
	Registered = "registered" // its result is not known yet
	Healthy    = "healthy"
	Failed     = "failed" // see Why
	Reverted   = "reverted"
)

// Step is the upgrade or ejection of one job.
type Step struct {
	Namespace string `json:"namespace"`
	ID        string `json:"id"`
	Outcome   string `json:"outcome"`
	Why       string `json:"why,omitempty"`
	// Changes and Left are lines: the changes, and the differences that remain.
	Changes []string `json:"changes,omitempty"`
	Left    []string `json:"left,omitempty"`
	// Restarts are groups whose allocations are replaced, InPlace groups that are updated
	// in place.
	Restarts []string `json:"restarts,omitempty"`
	InPlace  []string `json:"in_place,omitempty"`
	Unplaced []string `json:"unplaced,omitempty"`
	// From is the version before, To the version after; 0 if unknown.
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"`

	modifyIndex uint64
	evaluation  string
}

// Ref returns the reference of the job.
func (s *Step) Ref() Ref { return Ref{Namespace: s.Namespace, ID: s.ID} }

func (s *Step) skip(format string, args ...any) {
	s.Outcome, s.Why = Skipped, fmt.Sprintf(format, args...)
}

// Planner plans an upgrade or ejection. It changes nothing.
type Planner struct {
	Nomad Nomad
	Rules *Rules
	// Owned includes jobs that another tool registers.
	Owned    bool
	Parallel int
	// Eject removes all sidecars instead. With Only, jobs that have other sidecars as
	// well are skipped.
	Eject bool
	Only  []string
}

// Plan returns a step for each job that differs or, when ejecting, for each job that has
// sidecars, in the order of jobs.
func (p *Planner) Plan(ctx context.Context, jobs []*Job) ([]*Step, error) {
	var steps []*Step
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, p.Parallel))
	for _, j := range jobs {
		if p.Eject && !j.holds() || !p.Eject && !j.Differs() {
			continue
		}
		s := &Step{Namespace: j.Namespace, ID: j.ID, Outcome: Planned, From: j.Version}
		steps = append(steps, s)
		if j.Activity == Paused {
			s.skip("its deployment is paused")
			continue
		}
		group.Go(func() error { return p.step(ctx, s) })
	}
	return steps, group.Wait()
}

// step inspects the whole job, which a filter may have narrowed.
func (p *Planner) step(ctx context.Context, s *Step) error {
	raw, err := p.Nomad.Job(ctx, s.Ref())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.skip("%s", err)
		return nil
	}
	before, err := p.Rules.Inspect(raw)
	if err != nil {
		s.skip("%s", err)
		return nil
	}
	s.From, s.modifyIndex = before.Version, before.ModifyIndex
	if why := p.refuse(before); why != "" {
		s.skip("%s", why)
		return nil
	}
	made, diags := p.Rules.remake(raw, s.Ref().String(), p.Eject)
	if diags.HasErrors() {
		s.skip("%s", strings.Join(texts(diags), "; "))
		return nil
	}
	after, err := p.Rules.Inspect(made)
	if err != nil {
		s.skip("%s", err)
		return nil
	}
	if p.Eject {
		s.describeEject(before, after)
	} else {
		s.describe(before, after)
	}
	if len(s.Changes) == 0 {
		s.skip("nothing can be changed: %s", strings.Join(s.Left, "; "))
		return nil
	}
	preview, err := p.Nomad.Plan(ctx, s.Ref(), made)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.skip("%s", err)
	case preview.ModifyIndex != s.modifyIndex:
		s.skip("it was registered meanwhile; run the command again")
	case !preview.Differs:
		s.Outcome = Unchanged
	default:
		s.Restarts, s.InPlace, s.Unplaced = preview.Restarts, preview.InPlace, preview.Unplaced
	}
	return nil
}

// refuse returns the reason to skip a job.
func (p *Planner) refuse(j *Job) string {
	if p.Eject {
		return p.refuseEject(j)
	}
	return j.Refusal(p.Owned)
}

// describe compares a job with its planned version.
func (s *Step) describe(before, after *Job) {
	for _, g := range before.Groups {
		for _, had := range g.Sidecars {
			if had.State == StateOK {
				continue
			}
			i := slices.IndexFunc(after.group(g.Name).Sidecars, func(o *Sidecar) bool { return o.Name == had.Name })
			switch gets := had.Newest; {
			case i < 0:
				s.change(g, had, "removed, since %s", had.Reason)
			case after.group(g.Name).Sidecars[i].State != StateOK:
				s.Left = append(s.Left, fmt.Sprintf("group %s: %s %s is %s%s", g.Name, had.Name, had.Version, had.State, needs(had)))
			case had.State == StateMissing:
				s.change(g, had, "%s added", gets)
			case had.Edited && had.Version == gets:
				s.change(g, had, "%s recreated without the edits", gets)
			case had.Edited:
				s.change(g, had, "%s recreated as %s without the edits", had.Version, gets)
			case had.State == StateChanged:
				s.change(g, had, "%s replaced by the catalog's definition of this version", gets)
			default:
				s.change(g, had, "%s → %s", had.Version, gets)
			}
		}
	}
}

func (s *Step) change(g *Group, had *Sidecar, format string, args ...any) {
	s.Changes = append(s.Changes, fmt.Sprintf("group %s: %s ", g.Name, had.Name)+fmt.Sprintf(format, args...))
}

func needs(s *Sidecar) string {
	if s.Needs == "" {
		return ""
	}
	return ", and needs its " + s.Needs
}

// ErrStopped is wrapped by the error of an upgrade that has not completed all steps.
var ErrStopped = errors.New("stopped")

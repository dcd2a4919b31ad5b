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
	// Restarts are groups that get new allocations, InPlace groups that are updated in
	// place.
	Restarts []string `json:"restarts,omitempty"`
	InPlace  []string `json:"in_place,omitempty"`
	Unplaced []string `json:"unplaced,omitempty"`
	// Warnings are about the job after the step.
	Warnings []string `json:"warnings,omitempty"`
	// Deployment describes a running deployment that the step replaces.
	Deployment string `json:"deployment,omitempty"`
	// From is the version before, To the version after; 0 if unknown. A revert goes from
	// version From to the content of version To.
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"`

	modifyIndex uint64
	content     string // of the job that the step was planned for
	made        string // content of the job that it registers
	keepCounts  bool   // revert by registering version To with the current counts
	registered  uint64 // version to wait for
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
	// Named are the IDs of jobs that get a step, with the reason to skip them, also if they are
	// inactive.
	Named []string
}

// Plan returns a step for each active job that differs or, when ejecting, for each job that has
// sidecars, in the order of jobs. Jobs that cannot be read or changed are skipped steps.
func (p *Planner) Plan(ctx context.Context, jobs []*Job) ([]*Step, error) {
	var steps []*Step
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, p.Parallel))
	for _, j := range jobs {
		s := &Step{Namespace: j.Namespace, ID: j.ID, Outcome: Planned, From: j.Version}
		switch {
		case j.Unreadable:
			s.skip("%s", strings.Join(j.Problems, "; "))
		case !p.Eject && !j.Active() && j.differs() && slices.Contains(p.Named, j.ID):
			s.skip("%s", j.Refusal(p.Owned))
		case p.Eject && !j.holds() || !p.Eject && !j.Differs():
			continue
		case j.Activity == Paused:
			s.skip("its deployment is paused")
		default:
			group.Go(func() error { return p.step(ctx, s) })
		}
		steps = append(steps, s)
	}
	return steps, group.Wait()
}

// mostTries limits how often a job is planned or registered again because its counts change
// meanwhile.
const mostTries = 10

// step plans the change of a job, or skips it with the reason why it cannot be made.
func (p *Planner) step(ctx context.Context, s *Step) error {
	var err error
	for range mostTries {
		if err = p.plan(ctx, s); !errors.Is(err, ErrChanged) {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.skip("%s", err)
	}
	return nil
}

// plan inspects the whole job, which a filter may have narrowed.
func (p *Planner) plan(ctx context.Context, s *Step) error {
	raw, err := p.Nomad.Job(ctx, s.Ref())
	if err != nil {
		return err
	}
	made, err := p.assess(s, raw)
	if err != nil {
		return err
	}
	if err := p.running(ctx, s); err != nil {
		return err
	}
	return p.preview(ctx, s, raw, made)
}

// assess returns the new job and describes its differences.
func (p *Planner) assess(s *Step, raw []byte) (made []byte, err error) {
	before, err := p.Rules.Inspect(raw)
	if err != nil {
		return nil, err
	}
	s.From, s.modifyIndex = before.Version, before.ModifyIndex
	if s.content, err = content(raw); err != nil {
		return nil, err
	}
	if why := p.refuse(before); why != "" {
		return nil, errors.New(why)
	}
	if made, err = p.remake(s, raw); err != nil {
		return nil, err
	}
	after, err := p.Rules.Inspect(made)
	if err != nil {
		return nil, err
	}
	s.Changes, s.Left = nil, nil
	if p.Eject {
		s.describeEject(before, after)
	} else {
		s.describe(before, after)
	}
	s.describeProxies(before, after, p.Eject)
	if s.Warnings = after.Warnings; p.Eject {
		s.Warnings = nil
	}
	if len(s.Changes) == 0 {
		return nil, fmt.Errorf("nothing can be changed: %s", strings.Join(s.Left, "; "))
	}
	return made, nil
}

// remake makes the new job of a step.
func (p *Planner) remake(s *Step, raw []byte) ([]byte, error) {
	made, diags := p.Rules.remake(raw, s.Ref().String(), p.Eject)
	if diags.HasErrors() {
		return nil, errors.New(strings.Join(texts(diags), "; "))
	}
	var err error
	s.made, err = content(made)
	return made, err
}

// running returns an error about canaries, which a registration would replace before they are
// promoted.
func (p *Planner) running(ctx context.Context, s *Step) error {
	d, err := p.Nomad.Deployment(ctx, s.Ref())
	s.Deployment = ""
	switch {
	case err != nil || d == nil:
		return err
	case d.Paused:
		return errors.New("its deployment is paused")
	case d.Canaries:
		return fmt.Errorf("deployment %s of version %d has canaries that are not promoted; promote or fail it first", d.ID, d.Version)
	}
	s.Deployment = fmt.Sprintf("%s of version %d is running and will be replaced", d.ID, d.Version)
	return nil
}

// preview checks that Nomad planned the job that was sent.
func (p *Planner) preview(ctx context.Context, s *Step, raw, made []byte) error {
	preview, err := p.Nomad.Plan(ctx, s.Ref(), made)
	if err != nil {
		return err
	}
	if preview.ModifyIndex != s.modifyIndex {
		return ErrChanged
	}
	now, err := readHeader(raw)
	if err != nil {
		return err
	}
	want, err := readHeader(made)
	if err != nil {
		return err
	}
	switch wrong := now.after(preview.Tasks).unlike(want.marks()); {
	case wrong != "":
		return fmt.Errorf("Nomad would not register what was sent: %s. %s", wrong, p.cause())
	case !preview.Differs:
		return fmt.Errorf("there are changes to make (%s), but Nomad's plan has none. %s", strings.Join(s.Changes, "; "), p.cause())
	}
	s.Restarts, s.InPlace, s.Unplaced = preview.Restarts, preview.InPlace, preview.Unplaced
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
			case had.Output != "" && had.Version == gets:
				s.change(g, had, "%s recreated with the present %s", gets, had.Output)
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

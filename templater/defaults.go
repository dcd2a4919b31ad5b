package templater

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// States of a default in a group or task.
const (
	// DefaultSet means that the job's author left the field out, and gets the default.
	DefaultSet = "set"
	// DefaultWritten means that the job has the field.
	DefaultWritten = "written"
	// DefaultNotSeen means that the job has the field, but that Nomad may have filled it in.
	DefaultNotSeen = "not seen"
	// DefaultNotUsed means that jobs of this type cannot have the field.
	DefaultNotUsed = "not used"
)

// DefaultState is what becomes of a default that a rule has for a group.
type DefaultState struct {
	Group   *job.Group
	Task    string // "" for the group
	Default *job.Default
	State   string
	// Written is the position of the field in the job, for DefaultWritten and DefaultNotSeen.
	Written hcl.Range
}

// chooseDefaults decides about the defaults of a policy in each group. If several rules set a
// field, the last one counts, as for values of parameters.
func chooseDefaults(j *job.Job, policy Policy) ([]*DefaultState, hcl.Diagnostics) {
	if policy == nil {
		return nil, nil
	}
	c := &defaulter{job: j}
	for _, g := range j.Groups {
		last := map[string]*job.Default{}
		for _, d := range policy.Defaults(j, g) {
			last[d.Field.Name] = d
		}
		for _, f := range job.DefaultFields() {
			if d := last[f.Name]; d != nil {
				c.field(g, d)
			}
		}
		if c.added > bounds.AddedBytes {
			return nil, hcl.Diagnostics{diagnostic.Error(g.Range, "Injected job too large", fmt.Sprintf("Up to group %q the defaults of the policy add more than %d MiB to the job, the limit. Split the job.", g.Name, bounds.AddedBytes>>20))}
		}
	}
	c.warnNotSeen()
	return c.states, c.diags
}

type defaulter struct {
	job    *job.Job
	states []*DefaultState
	added  int // bytes
	diags  hcl.Diagnostics
}

// stateBytes is about the size of a DefaultState.
const stateBytes = 64

func (c *defaulter) field(g *job.Group, d *job.Default) {
	if types := d.Field.Types; types != nil {
		if u := c.job.Type.Unknown; u != nil {
			c.diags = append(c.diags, u.Error(fmt.Sprintf("Whether group %q can have %s, which rule %q sets by default,", g.Name, d.Field.Name, d.Rule)))
			return
		}
		if !slices.Contains(types, c.job.Type.Value) {
			c.states = append(c.states, &DefaultState{Group: g, Default: d, State: DefaultNotUsed})
			return
		}
	}
	if !d.Field.Task {
		c.decide(&DefaultState{Group: g, Default: d}, g.Written, c.job.Written)
		return
	}
	for _, t := range g.Tasks {
		c.decide(&DefaultState{Group: g, Task: t.Name, Default: d}, t.Written, g.Written)
	}
}

// decide sets the state from the fields of a group or task and those that it may inherit.
func (c *defaulter) decide(s *DefaultState, own, outer map[string]job.Written) {
	f := s.Default.Field
	w, has := own[f.Name]
	ours := has && w.Default
	if (!has || ours) && f.Inherited && (!ours || !c.job.Canonical) {
		if inherited, ok := outer[f.Name]; ok {
			w, has, ours = inherited, true, false
		}
	}
	switch {
	case has && w.Unknown != nil:
		c.diags = append(c.diags, w.Unknown.Error(fmt.Sprintf("Whether %s has %s, which rule %q sets by default,", s.place(), f.Name, s.Default.Rule)))
		return
	case !has || ours:
		s.State = DefaultSet
		c.added += len(s.Default.JSON)
	case f.Canonical && c.job.Canonical:
		s.State, s.Written = DefaultNotSeen, w.Range
	default:
		s.State, s.Written = DefaultWritten, w.Range
	}
	c.added += stateBytes
	c.states = append(c.states, s)
}

func (s *DefaultState) place() string {
	if !s.Default.Field.Task {
		return fmt.Sprintf("group %q", s.Group.Name)
	}
	return fmt.Sprintf("task %q of group %q", s.Task, s.Group.Name)
}

// warnNotSeen warns once about all fields that Nomad may have filled in.
func (c *defaulter) warnNotSeen() {
	var fields, rules []string
	for _, s := range c.states {
		if s.State != DefaultNotSeen {
			continue
		}
		if !slices.Contains(fields, s.Default.Field.Name) {
			fields = append(fields, s.Default.Field.Name)
		}
		if !slices.Contains(rules, s.Default.Rule) {
			rules = append(rules, s.Default.Rule)
		}
	}
	if len(fields) == 0 {
		return
	}
	c.diags = append(c.diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Defaults not set", Detail: fmt.Sprintf(
		"The policy (%s) has defaults for %s, but in a job from Nomad's API or UI every field is set, so it is not known which of them the job's author left out. They stay as they are. To get the defaults, register the job's file, for example with nomad job run.",
		strings.Join(rules, ", "), strings.Join(fields, ", "))})
}

// setsDefaults reports whether injection sets or removes a default.
func (in *Injection) setsDefaults() bool {
	if in.Flags.Policy == nil {
		return false
	}
	return len(in.Document.Defaulted()) > 0 || slices.ContainsFunc(in.Defaults, func(s *DefaultState) bool { return s.State == DefaultSet })
}

// keepsDefaults reports whether the document has nothing but defaults of an earlier injection, which
// only a policy can renew.
func (in *Injection) keepsDefaults() bool {
	return in.Flags.Policy == nil && len(in.Choices) == 0 && len(in.Document.Marks()) == 0 && len(in.Document.Defaulted()) > 0
}

// defaults plans the defaults of all groups. They come before sidecars, so that both are in the same
// order after every injection. defaulted are the groups with defaults of an earlier injection.
func (p *planner) defaults(states []*DefaultState, defaulted []string, flags Flags) {
	values, had, stray := map[*job.Group][]job.DefaultValue{}, map[string]bool{}, map[*job.Group]bool{}
	for _, s := range states {
		stray[s.Group] = s.Group.StrayMark != nil
		if s.State == DefaultSet {
			values[s.Group] = append(values[s.Group], job.DefaultValue{Task: s.Task, Default: s.Default})
		}
	}
	for _, name := range defaulted {
		had[name] = true
	}
	for _, g := range p.job.Groups {
		if (len(values[g]) == 0 && !had[g.Name] && !stray[g]) || p.refuseDefaults(g) {
			continue
		}
		edit := &job.SetDefaults{Group: g.Name, Values: values[g]}
		if len(edit.Values) > 0 {
			edit.Mark = markOf(g, edit.Values)
		} else {
			p.diags = append(p.diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Defaults removed",
				Detail: fmt.Sprintf("Group %q had defaults of a policy that no longer sets any there.", g.Name)})
		}
		p.add(edit)
		if d := flags.late(g); d != nil {
			p.diags = append(p.diags, d)
			return
		}
	}
}

func markOf(g *job.Group, values []job.DefaultValue) string {
	mark := job.NewDefaults(values)
	inTasks := map[string]job.Bare{}
	for _, t := range g.Tasks {
		inTasks[t.Name] = t.Bare
	}
	for _, v := range values {
		bare := g.Bare
		if v.Field.Task {
			bare = inTasks[v.Task]
		}
		if spelt, ok := bare[v.Field.API]; ok {
			mark.SetBare(v.Task, v.Field.API, spelt)
		}
	}
	if spelt, ok := g.Bare["Constraints"]; ok {
		mark.SetBare("", "Constraints", spelt)
	}
	return mark.String()
}

// refuseDefaults reports obstacles to defaults in a group. A task with marks that injection did not
// write only causes a warning: it is no reason to deny a job.
func (p *planner) refuseDefaults(g *job.Group) bool {
	before := len(p.diags)
	for _, o := range g.Opaque {
		p.diags = append(p.diags, o.Error(fmt.Sprintf("The policy has defaults for group %q, but it has", g.Name)))
	}
	if g.StrayMark != nil {
		p.diags = append(p.diags, strayMark(g))
	}
	p.refuseTwins(g)
	if len(p.diags) > before {
		return true
	}
	for _, t := range slices.Concat(g.Tasks, g.Proxies) {
		if d := unrecognized(g, t); d != nil {
			d.Severity, d.Summary = hcl.DiagWarning, "Defaults not set"
			p.diags = append(p.diags, d)
			return true
		}
	}
	return false
}

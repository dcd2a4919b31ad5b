package templater

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
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
	task    *job.Task // nil for the group
	logs    cty.Value // see job.DefaultValue
	// Written is the position of the field in the job, for DefaultWritten and DefaultNotSeen.
	Written hcl.Range
}

// chooseDefaults decides about the defaults of a policy in each group. If several rules set a
// field, or the same key of one, the last one counts, as for values of parameters.
func chooseDefaults(j *job.Job, policy Policy) ([]*DefaultState, hcl.Diagnostics) {
	if policy == nil {
		return nil, nil
	}
	c := &defaulter{job: j, inJob: constraintsOf(j.Constraints)}
	for _, g := range j.Groups {
		c.inGroup = nil
		for _, d := range lastDefaults(policy.Defaults(j, g)) {
			c.field(g, d)
			if c.added > bounds.AddedBytes {
				return nil, hcl.Diagnostics{diagnostic.Error(g.Range, "Injected job too large", fmt.Sprintf("Up to group %q the defaults of the policy add more than %d MiB to the job, the limit. Split the job.", g.Name, bounds.AddedBytes>>20))}
			}
		}
	}
	c.warnNotSeen()
	return c.states, c.diags
}

// lastDefaults returns the last default for each field and key, by field and then by key.
func lastDefaults(list []*job.Default) []*job.Default {
	last := map[string]*job.Default{}
	for _, d := range list {
		last[d.Name()] = d
	}
	place := map[string]int{}
	for i, f := range job.DefaultFields() {
		place[f.Name] = i
	}
	return slices.SortedFunc(maps.Values(last), func(x, y *job.Default) int {
		return cmp.Or(place[x.Field.Name]-place[y.Field.Name], strings.Compare(x.Key, y.Key))
	})
}

type defaulter struct {
	job            *job.Job
	inJob, inGroup *constraints // inGroup is nil until the current group needs it
	states         []*DefaultState
	added          int // bytes
	diags          hcl.Diagnostics
}

// stateBytes is about the size of a DefaultState.
const stateBytes = 160

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
		c.decide(&DefaultState{Group: g, Default: d}, c.inGroupOf(g, d))
		return
	}
	for _, t := range g.Tasks {
		if c.added > bounds.AddedBytes {
			return
		}
		c.decide(&DefaultState{Group: g, Task: t.Name, Default: d, task: t}, c.inTaskOf(g, t, d))
	}
}

// inGroupOf returns the field, or the value for the key, that the job has for a group; nil if there is
// none.
func (c *defaulter) inGroupOf(g *job.Group, d *job.Default) *job.Written {
	switch d.Field.Name {
	case "meta":
		return cmp.Or(writtenText(d.Key, g.Meta, g.MoreMeta), writtenText(d.Key, c.job.Meta, c.job.MoreMeta))
	case "constraint":
		if c.inGroup == nil {
			lists := [][]job.Constraint{g.Constraints}
			for _, t := range g.Tasks {
				lists = append(lists, t.Constraints)
			}
			c.inGroup = constraintsOf(lists...)
		}
		return cmp.Or(c.inGroup.written(d.Key), c.inJob.written(d.Key))
	}
	return c.inherited(d.Field, g.Written, c.job.Written)
}

// inTaskOf is inGroupOf for a task.
func (c *defaulter) inTaskOf(g *job.Group, t *job.Task, d *job.Default) *job.Written {
	switch d.Field.Name {
	case "env":
		return writtenText(d.Key, t.Env, t.MoreEnv)
	case "logs":
		if s, ok := t.Config[job.LogsSetting]; ok && t.Driver.Unknown == nil && t.Driver.Value == PodDriver {
			return &job.Written{Range: s.Range}
		}
	}
	return c.inherited(d.Field, t.Written, g.Written, c.job.Written)
}

// inherited returns a field of a group or task, or the one that it inherits.
func (c *defaulter) inherited(f *job.DefaultField, own map[string]job.Written, outer ...map[string]job.Written) *job.Written {
	w, has := own[f.Name]
	ours := has && w.Default
	if (!has || ours) && f.Inherited && (!ours || !c.job.Canonical) {
		for _, fields := range outer {
			if inherited, ok := fields[f.Name]; ok {
				return &inherited
			}
		}
	}
	if !has {
		return nil
	}
	return &w
}

// writtenText returns the position of a key in env or meta, or nil.
func writtenText(key string, texts map[string]job.Text, more *diagnostic.Unknown) *job.Written {
	t, has := texts[key]
	switch {
	case has:
		return &job.Written{Range: t.Range}
	case more != nil:
		return &job.Written{Unknown: more, Range: more.Range}
	}
	return nil
}

// decide sets the state. w is the field that the job has, or nil.
func (c *defaulter) decide(s *DefaultState, w *job.Written) {
	f := s.Default.Field
	switch {
	case w != nil && w.Unknown != nil:
		c.unknown(s, w.Unknown, "Whether %s has %s, which rule %q sets by default,")
		return
	case w == nil || w.Default:
		if !c.set(s) {
			return
		}
	case f.Canonical && c.job.Canonical:
		s.State, s.Written = DefaultNotSeen, w.Range
	default:
		s.State, s.Written = DefaultWritten, w.Range
	}
	c.added += stateBytes
	c.states = append(c.states, s)
}

// unknown reports a dependency on an unknown value; format takes the place, the name and the rule.
func (c *defaulter) unknown(s *DefaultState, u *diagnostic.Unknown, format string) {
	c.diags = append(c.diags, u.Error(fmt.Sprintf(format, s.place(), s.Default.Name(), s.Default.Rule)))
}

// set sets a default, unless that is an error.
func (c *defaulter) set(s *DefaultState) bool {
	s.State = DefaultSet
	c.added += len(s.Default.JSON) + len(s.Default.Key)
	if b, ok := s.Default.Item.(*sidecar.Block); ok && b.Type == "logs" {
		return c.setLogs(s, logsBlock(b))
	}
	return true
}

// setLogs checks that logs fit on the disk, by Nomad's rule for each task (structs.Task.Validate), and
// repeats them in the config of a pod task, where Nomad does not pass them to the driver.
func (c *defaulter) setLogs(s *DefaultState, logs job.Logs) bool {
	task, disk := s.task, s.Group.Disk
	if disk.Unknown != nil && logs.MaxMB() > 0 {
		c.unknown(s, disk.Unknown, "Whether the disk of %s has room for %s, which rule %q sets by default,")
		return false
	}
	if size := logs.MaxMB(); disk.SizeMB != 0 && disk.SizeMB <= size {
		c.diags = append(c.diags, diagnostic.Error(disk.Range, "Too little disk", fmt.Sprintf(
			"By default of rule %q the logs of %s may need %d MB, but the ephemeral disk of the group has %d MB. Set ephemeral_disk { size = %d } or more in the group, or logs in the task.",
			s.Default.Rule, s.place(), size, disk.SizeMB, disk.SizeMB+size)))
		return false
	}
	setting, ok := logs.ForDriver()
	for _, u := range []*diagnostic.Unknown{task.Driver.Unknown, task.MoreConfig} {
		if ok && u != nil && (task.Driver.Unknown != nil || task.Driver.Value == PodDriver) {
			c.unknown(s, u, "Whether the config of %s repeats %s, which rule %q sets by default,")
			return false
		}
	}
	if ok && task.Driver.Value == PodDriver {
		s.logs = setting
	}
	return true
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

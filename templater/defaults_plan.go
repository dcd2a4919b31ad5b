package templater

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

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
			values[s.Group] = append(values[s.Group], job.DefaultValue{Task: s.Task, Logs: s.logs, Default: s.Default})
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
		p.set[g] = edit.Values
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
		for _, field := range []string{v.Field.API, "Config"} {
			if spelt, ok := bare[field]; ok && (field == v.Field.API || v.Logs != cty.NilVal) {
				mark.SetBare(v.Task, field, spelt)
			}
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

// takeDefaults adds the defaults of a group to its state, so that a sidecar with another value is
// refused as for a value of the job. Without a policy a job in JSON keeps earlier defaults.
func (p *planner) takeDefaults(st *groupState, flags Flags) {
	for _, t := range st.group.Tasks {
		if flags.Policy != nil {
			break
		}
		for name, text := range t.DefaultEnv {
			st.env[t.Name][name] = envValue{text, owner{"a default of an earlier policy", text.Range}, nil}
		}
		if t.DefaultLogs != nil {
			st.config[t.Name][job.LogsSetting] = t.DefaultLogs.Value
		}
	}
	for _, v := range p.set[st.group] {
		of := owner{fmt.Sprintf("the default of rule %q", v.Rule), v.Range}
		if a, ok := v.Item.(*sidecar.Attr); ok && v.Field.Name == "env" {
			st.env[v.Task][v.Key] = envValue{job.Text{Value: a.Value.AsString(), Range: v.Range}, of, nil}
		}
		if v.Logs != cty.NilVal {
			st.config[v.Task][job.LogsSetting] = v.Logs
		}
	}
}

package templater

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Policy is the rules of the cluster's operators for its jobs.
type Policy interface {
	// Orders returns the sidecars that rules choose for a group, in the order of the rules.
	// Values of later rules override earlier ones.
	Orders(*job.Job, *job.Group) ([]*Order, hcl.Diagnostics)
	// Parameters returns values for parameters of a sidecar that is chosen for a group, in the order of
	// the rules. Each applies unless something else sets the parameter.
	Parameters(*job.Job, *job.Group, *sidecar.Definition) ([]*Order, hcl.Diagnostics)
	// Proxies returns the driver that a rule gives to the proxies of a group's services, or nil. Orders
	// reports whether rules are undecided.
	Proxies(*job.Job, *job.Group) *ProxyOrder
	// Defaults returns the defaults that rules set in a group, in the order of the rules.
	Defaults(*job.Job, *job.Group) []*job.Default
	// MaySkip reports whether any job could have orders that may be skipped.
	MaySkip() bool
	// Check reports violations of the job as its author wrote it, with the sidecars that its
	// groups will have.
	Check(*job.Job, map[*job.Group]Sidecars) hcl.Diagnostics
}

// Sidecars are the names of a group's sidecars, sorted.
type Sidecars struct {
	// Chosen are injected now, whatever their origin.
	Chosen []string
	// Kept are sidecars with tasks that came with the job and are not changed. The job's author
	// may have written such a task too: see Keepable.
	Kept []string
}

// Order is a sidecar that a rule of a policy chooses.
type Order struct {
	job.Request
	Rule string
	// Required sidecars ignore meta "sidecar.exclude".
	Required bool
	// Skip allows omitting the sidecar if it cannot be injected.
	Skip bool
}

// ByRule is the Extra of a diagnostic caused by a rule: the rule's name.
type ByRule string

func (c *chooser) checkPolicy() {
	if c.flags.Policy != nil {
		c.diags = append(c.flags.Policy.Check(c.job, c.sidecars), c.diags...)
	}
}

func (c *chooser) fromPolicy(found map[string]*candidate, g *job.Group) {
	if c.flags.Policy == nil {
		return
	}
	orders, diags := c.flags.Policy.Orders(c.job, g)
	c.report(diags)
	for _, o := range orders {
		cand := pick(found, o.Sidecar, OriginPolicy, o.Range)
		c.constrain(cand, &o.Request)
		for name, arg := range o.Arguments {
			cand.arguments[name] = arg
		}
		cand.rules = append(cand.rules, o.Rule)
		if o.Required {
			cand.required = o.Rule
		}
	}
}

// parameters adds the values that the policy gives to a sidecar which something has chosen. They
// are weaker than all others but the defaults of the definition. Values with an output of a sidecar that is
// not in the group do not apply.
func (b *binding) parameters(cand *candidate) {
	c, g, def := b.chooser, b.group, cand.definition
	if c.flags.Policy == nil {
		return
	}
	orders, diags := c.flags.Policy.Parameters(c.job, g, def)
	c.report(diags)
	for _, o := range slices.Backward(orders) {
		for name, arg := range o.Arguments {
			absent := slices.ContainsFunc(arg.Uses, func(ref sidecar.OutputRef) bool {
				return b.found[ref.Sidecar] == nil && !slices.Contains(b.kept, ref.Sidecar)
			})
			if _, set := cand.arguments[name]; !set && !absent {
				cand.arguments[name] = arg
			}
		}
	}
}

// leaveKept drops sidecars with kept tasks, and returns their names. A required sidecar is chosen
// nonetheless, because the kept task only claims to be that sidecar.
func (c *chooser) leaveKept(found map[string]*candidate, g *job.Group) []string {
	kept := map[string]bool{}
	for _, m := range c.flags.Kept {
		if cand := found[m.Mark.Name]; m.Group == g.Name && (cand == nil || cand.required == "") {
			if !kept[m.Mark.Name] {
				c.keptMeta(m, g)
			}
			c.used[m.Mark.Name], kept[m.Mark.Name] = true, true
			delete(found, m.Mark.Name)
		}
	}
	return slices.Sorted(maps.Keys(kept))
}

// settle finds skippable rules with sidecars that cannot be injected into the document, and
// returns the flags without these rules. A warning gives the reason.
func settle(doc Document, catalog job.Catalog, flags Flags) (Flags, hcl.Diagnostics) {
	if flags.Policy == nil || !flags.Policy.MaySkip() {
		return flags, nil
	}
	rules := skippable(doc.Job(), flags.Policy)
	try := func(without []string) hcl.Diagnostics {
		f := flags
		f.Policy = withoutRules(flags.Policy, without)
		in := &Injection{Document: doc, Catalog: catalog, Flags: f}
		var diags hcl.Diagnostics
		if in.Choices, diags = Choose(doc.Job(), catalog, f); diags.HasErrors() {
			return diags
		}
		if in.Defaults, diags = chooseDefaults(doc.Job(), f.Policy); diags.HasErrors() {
			return diags
		}
		return in.Make()
	}
	if len(rules) == 0 || !try(nil).HasErrors() {
		return flags, nil
	}
	var warnings hcl.Diagnostics
	skipped := slices.Clone(rules)
	if !try(skipped).HasErrors() { // otherwise the errors have other causes than skippable rules
		for _, rule := range rules {
			without := slices.DeleteFunc(slices.Clone(skipped), func(s string) bool { return s == rule })
			diags := try(without)
			if !diags.HasErrors() || diagnostic.HasUnknown(diags) { // an unknown value does not cause a skip
				skipped = without
				continue
			}
			warnings = append(warnings, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Rule skipped",
				Detail: fmt.Sprintf("Rule %q of the policy cannot be applied and is skipped: %s", rule, firstError(diags))})
		}
	}
	flags.Policy = withoutRules(flags.Policy, skipped)
	return flags, warnings
}

// skippable returns the rules that choose something for the job and may be skipped.
func skippable(j *job.Job, policy Policy) []string {
	var names []string
	for _, g := range j.Groups {
		orders, _ := policy.Orders(j, g) // Choose reports the errors
		for _, o := range orders {
			if o.Skip && !slices.Contains(names, o.Rule) {
				names = append(names, o.Rule)
			}
		}
	}
	return names
}

func firstError(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			return d.Detail
		}
	}
	return ""
}

// partial is a policy without some of its rules.
type partial struct {
	Policy
	without []string
}

func withoutRules(p Policy, rules []string) Policy {
	if len(rules) == 0 {
		return p
	}
	return partial{p, rules}
}

func (p partial) Orders(j *job.Job, g *job.Group) ([]*Order, hcl.Diagnostics) {
	orders, diags := p.Policy.Orders(j, g)
	return slices.DeleteFunc(orders, func(o *Order) bool { return slices.Contains(p.without, o.Rule) }), diags
}

func (p partial) Parameters(j *job.Job, g *job.Group, d *sidecar.Definition) ([]*Order, hcl.Diagnostics) {
	orders, diags := p.Policy.Parameters(j, g, d)
	return slices.DeleteFunc(orders, func(o *Order) bool { return slices.Contains(p.without, o.Rule) }), diags
}

func (p partial) Defaults(j *job.Job, g *job.Group) []*job.Default {
	return slices.DeleteFunc(p.Policy.Defaults(j, g), func(d *job.Default) bool { return slices.Contains(p.without, d.Rule) })
}

// Keepable returns the injected tasks to keep when a job is submitted again without the flags
// and blocks that chose them, which a JSON job does not contain. It excludes sidecars that the
// policy chooses now, requires, or needs in another version. Without a policy, tasks that a
// policy chose are kept too: their parameters are not known. Since anybody can write a mark, a
// policy must check these tasks too.
func Keepable(marks []job.Marked, choices []*Choice, catalog job.Catalog, policy Policy) []job.Marked {
	var out []job.Marked
	for _, m := range marks {
		if m.Mark.Doubt(catalog, m.Task) != "" {
			continue
		}
		i := slices.IndexFunc(choices, func(c *Choice) bool {
			return c.Group.Name == m.Group && c.Definition.Name == m.Mark.Name
		})
		switch {
		case m.Mark.Origin == OriginPolicy:
			if policy != nil || i >= 0 {
				continue
			}
		case i >= 0 && (m.Mark.Origin == OriginMeta || !choices[i].leaves(m.Mark, catalog)):
			continue
		}
		out = append(out, m)
	}
	return out
}

// leaves reports whether an earlier injection satisfies a choice.
func (c *Choice) leaves(m *job.Mark, catalog job.Catalog) bool {
	if c.Required || c.Origin != OriginPolicy {
		return false
	}
	for _, d := range catalog.Versions(m.Name) {
		if d.Digest != m.Digest {
			continue
		}
		for _, con := range c.Constraints {
			if !con.Check(d.Version) {
				return false
			}
		}
		return true
	}
	return false
}

package fleet

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// Rules are what jobs are judged by. They are not changed by use.
type Rules struct {
	Catalog job.Catalog
	Policy  templater.Policy // nil for none
}

// chosen is a job and what meta and policy choose for it.
type chosen struct {
	*jsonjob.Chosen
	diags hcl.Diagnostics
}

// choose finds the sidecars of a stored job. What kept names stays as it is.
func choose(raw []byte, name string, catalog job.Catalog, policy templater.Policy, kept []job.Marked) (*chosen, hcl.Diagnostics) {
	c, diags := jsonjob.Choose(raw, name, catalog, policy, kept, nil)
	if c == nil {
		return nil, diags
	}
	return &chosen{c, c.Discreet(catalog, policy, diags)}, nil
}

// inject is the job with what is chosen for it now, injected anew. What nobody here
// knows the parameters of stays as it is: see templater.Keepable.
func (r *Rules) inject(raw []byte, name string) ([]byte, hcl.Diagnostics) {
	c, diags := choose(raw, name, r.Catalog, r.Policy, nil)
	if diags.HasErrors() {
		return nil, diags
	}
	if kept := r.keepable(c); len(kept) > 0 {
		if c, diags = choose(raw, name, r.Catalog, r.Policy, kept); diags.HasErrors() {
			return nil, diags
		}
	}
	return c.carry(r.Catalog, r.Policy)
}

// keepable are the tasks that an injection without their source leaves alone. Without
// the policy that chose a sidecar nobody knows its parameters either.
func (r *Rules) keepable(c *chosen) []job.Marked {
	kept := templater.Keepable(c.File.Marks(), c.Choices, r.Catalog)
	if r.Policy != nil {
		return kept
	}
	for _, m := range c.File.Marks() {
		if m.Mark.Origin == templater.OriginPolicy && m.Mark.Doubt(r.Catalog, m.Task) == "" && c.choice(m.Group, m.Mark.Name) == nil {
			kept = append(kept, m)
		}
	}
	return kept
}

// carry carries the choices out.
func (c *chosen) carry(catalog job.Catalog, policy templater.Policy) ([]byte, hcl.Diagnostics) {
	diags := c.diags
	if diags.HasErrors() {
		return nil, diags
	}
	keep, more := templater.Reconcile(c.File.Marks(), c.Choices, catalog, policy)
	diags = append(diags, more...)
	if keep || diags.HasErrors() {
		return c.File.Source(), diags
	}
	edits, more := templater.Plan(c.File.Job(), c.Choices)
	diags = append(diags, c.Discreet(catalog, policy, more)...)
	if diags.HasErrors() {
		return nil, diags
	}
	out, more := c.File.Apply(edits)
	return out, append(diags, c.Discreet(catalog, policy, more)...)
}

// wrong are the sidecars that are chosen with an error, by group and name.
func (c *chosen) wrong(catalog job.Catalog) map[string]bool {
	out := map[string]bool{}
	told, _ := templater.Explain(c.File.Job(), catalog, templater.Flags{Policy: c.Policy, Kept: c.Kept})
	for _, e := range told {
		if e.State == templater.StateWrong {
			out[e.Group.Name+"/"+e.Sidecar] = true
		}
	}
	return out
}

func (c *chosen) choice(group, sidecar string) *templater.Choice {
	for _, choice := range c.Choices {
		if choice.Group.Name == group && choice.Definition.Name == sidecar {
			return choice
		}
	}
	return nil
}

// texts are the errors among diagnostics, each once.
func texts(diags hcl.Diagnostics) []string {
	var out []string
	seen := map[string]bool{}
	for _, d := range diags {
		text := d.Summary + ": " + d.Detail
		if d.Severity == hcl.DiagError && !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return out
}

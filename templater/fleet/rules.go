package fleet

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Rules are the catalog and policy that jobs are compared with. They are immutable.
type Rules struct {
	Catalog job.Catalog
	Policy  templater.Policy // nil for none
}

// chosen is a stored job with the sidecars that meta and policy choose for it.
type chosen struct {
	*templater.Injection
	diags hcl.Diagnostics
}

// choose finds the sidecars of a stored job. It leaves the tasks in kept in place.
func choose(raw []byte, name string, catalog job.Catalog, policy templater.Policy, kept []job.Marked) (*chosen, hcl.Diagnostics) {
	doc, diags := opener(raw, name, catalog)(kept)
	if diags.HasErrors() {
		return nil, diags
	}
	in, more := templater.Select(doc, catalog, templater.Flags{Policy: policy, Kept: kept})
	return &chosen{in, in.Redact(append(diags, more...))}, nil
}

func opener(raw []byte, name string, catalog job.Catalog) templater.Opener {
	return func(keep []job.Marked) (templater.Document, hcl.Diagnostics) {
		return jsonjob.ParseKeeping(raw, name, catalog, keep)
	}
}

// inject injects the sidecars that are chosen now into a stored job.
func (r *Rules) inject(raw []byte, name string) ([]byte, hcl.Diagnostics) {
	in, diags := templater.SelectStored(opener(raw, name, r.Catalog), r.Catalog, templater.Flags{Policy: r.Policy})
	if in == nil {
		return nil, diags
	}
	if !diags.HasErrors() {
		diags = append(diags, in.Carry()...)
	}
	return in.Output, in.Redact(diags)
}

// wrong are the sidecars that are chosen with an error, by group and name.
func (c *chosen) wrong() map[string]bool {
	out := map[string]bool{}
	for _, e := range c.Explain() {
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

// warnings are the texts about deprecated sidecars and parameters, and about choices without effect, each
// once.
func warnings(diags hcl.Diagnostics) []string {
	var out []string
	for _, d := range diags {
		if (sidecar.IsDeprecation(d) || templater.WithoutEffect(d)) && !slices.Contains(out, d.Detail) {
			out = append(out, d.Detail)
		}
	}
	return out
}

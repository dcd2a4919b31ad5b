package hcljob

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// written returns the fields with defaults that a body has, except keyed ones.
func (r *reader) written(body *hclsyntax.Body) map[string]job.Written {
	out := map[string]job.Written{}
	for _, f := range job.DefaultFields() {
		if f.Keyed {
			continue
		}
		if f.Block {
			for _, b := range r.blocks(body) {
				if b.kind() == f.Name {
					out[f.Name] = job.Written{Unknown: b.unknown, Range: b.DefRange()}
				}
			}
			continue
		}
		// Nomad does not accept null for a duration, so the value does not matter.
		if a := body.Attributes[f.Name]; a != nil {
			out[f.Name] = job.Written{Range: a.SrcRange}
		}
	}
	return out
}

// vaultIdentity adds vault to the written fields of a task with an identity for Vault: its author has
// decided how the task uses Vault.
func (r *reader) vaultIdentity(task *hclsyntax.Body, written map[string]job.Written) {
	if _, has := written["vault"]; has {
		return
	}
	for _, b := range r.blocks(task) {
		if b.kind() != "identity" {
			continue
		}
		name := job.Text{Unknown: b.unknown}
		if b.unknown == nil {
			b.in.text(b.Body, "name", &name)
		}
		if name.Unknown != nil || job.IsVaultIdentity(name.Value) {
			written["vault"] = job.Written{Unknown: name.Unknown, Range: b.DefRange()}
		}
	}
}

// constraints returns the constraints of a job, group or task, in the forms that Nomad's parser
// accepts (jobspec2.decodeConstraint).
func (r *reader) constraints(body *hclsyntax.Body) []job.Constraint {
	var out []job.Constraint
	for _, b := range r.blocks(body) {
		if b.kind() != "constraint" {
			continue
		}
		c := job.Constraint{Unknown: b.unknown, Range: b.DefRange()}
		if b.unknown == nil {
			b.in.constraint(b.Body, &c)
		}
		out = append(out, c)
	}
	return out
}

func (r *reader) constraint(body *hclsyntax.Body, c *job.Constraint) {
	r.text(body, "attribute", &c.Attribute)
	r.text(body, "operator", &c.Operator)
	for _, operator := range []string{"version", "semver", "regexp", "set_contains", "distinct_hosts", "distinct_property"} {
		short := job.Text{}
		if r.text(body, operator, &short); short == (job.Text{}) {
			continue
		}
		if c.Operator = (job.Text{Value: operator, Unknown: short.Unknown}); operator == "distinct_property" {
			c.Attribute = short
		}
	}
}

// strayMark returns the position of a mark of defaults, or nil. In the text without injected parts
// there is none, unless the comments around it are missing.
func (r *reader) strayMark(group *hclsyntax.Body) *hcl.Range {
	for _, c := range r.constraints(group) {
		if c.Unknown == nil && c.Attribute.Value == job.MarkDefaults {
			return &c.Range
		}
	}
	return nil
}

// setDefaults collects the changes for defaults. The text has none of an earlier injection.
func (e *editor) setDefaults(edit *job.SetDefaults) error {
	if edit.Mark == "" {
		return nil
	}
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	c := e.change(g)
	for _, v := range edit.Values {
		to := c
		if v.Field.Task {
			t, err := e.task(edit.Group, v.Task)
			if err != nil {
				return err
			}
			to = e.change(t)
		}
		to.setDefault(v)
	}
	c.blocks = append(c.blocks, job.MarkConstraint(edit.Mark))
	return nil
}

func (c *change) setDefault(v job.DefaultValue) {
	switch it := v.Item.(type) {
	case *sidecar.Attr:
		switch v.Field.Name {
		case "env":
			c.env[v.Key] = it.Value.AsString()
		case "meta":
			c.meta[v.Key] = it.Value.AsString()
		default:
			c.attrs = append(c.attrs, it)
		}
	case *sidecar.Block:
		c.blocks = append(c.blocks, it)
	}
	if v.Logs != cty.NilVal {
		c.config[job.LogsSetting] = &job.SetConfig{Name: job.LogsSetting, Value: v.Logs, Block: true}
	}
}

// CheckDefaults returns an error if edits leave out the defaults of an earlier injection, which are
// not in the text that they apply to.
func (f *File) CheckDefaults(edits []job.Edit) hcl.Diagnostics {
	for _, group := range f.defaulted {
		if !slices.ContainsFunc(edits, func(e job.Edit) bool {
			d, ok := e.(*job.SetDefaults)
			return ok && d.Group == group
		}) {
			return hcl.Diagnostics{diagnostic.Error(f.view.Range, "Defaults would be lost",
				"A policy has set defaults in group \""+group+"\" of this file. Pass the policy with -policy, or start from the original file, which nomad-sidecar eject restores.")}
		}
	}
	return nil
}

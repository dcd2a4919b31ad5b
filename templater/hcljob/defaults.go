package hcljob

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// written returns the fields with defaults that a body has.
func (r *reader) written(body *hclsyntax.Body) map[string]job.Written {
	out := map[string]job.Written{}
	for _, f := range job.DefaultFields() {
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

// strayMark returns the position of a mark of defaults, or nil. In the text without injected parts
// there is none, unless the comments around it are missing.
func (r *reader) strayMark(group *hclsyntax.Body) *hcl.Range {
	for _, b := range r.blocks(group) {
		if b.Type != "constraint" || b.unknown != nil {
			continue
		}
		var attribute job.Text
		if b.in.text(b.Body, "attribute", &attribute); attribute.Value == job.MarkDefaults {
			at := b.DefRange()
			return &at
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
		switch it := v.Item.(type) {
		case *sidecar.Attr:
			to.attrs = append(to.attrs, it)
		case *sidecar.Block:
			to.blocks = append(to.blocks, it)
		}
	}
	c.blocks = append(c.blocks, job.MarkConstraint(edit.Mark))
	return nil
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

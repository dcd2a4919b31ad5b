package sidecar

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// lintOutputs evaluates each output with the defaults and examples of the parameters, and with each example
// of the definition. It skips outputs that depend on the job, or on a parameter without a value.
func (d *Definition) lintOutputs() hcl.Diagnostics {
	if len(d.Outputs) == 0 {
		return nil
	}
	generated := map[string]bool{}
	for _, p := range d.Parameters {
		generated[p.Name] = p.Required() && p.Example == cty.NilVal
	}
	diags := d.checkOutputValues(d.sampleValues(), generated)
	if diags.HasErrors() {
		return diags // an example would repeat them
	}
	for _, e := range d.Examples {
		if e.Job != "" {
			continue
		}
		values, more := d.Bind(e.Arguments(), e.Range)
		if more.HasErrors() {
			continue // lintExamples reports them
		}
		for _, diag := range d.checkOutputValues(values, nil) {
			diag.Detail = fmt.Sprintf("In example %q: %s", e.Name, diag.Detail)
			diags = append(diags, diag)
		}
	}
	return diags
}

// checkOutputValues returns the errors about outputs that occur in every job with these parameters.
func (d *Definition) checkOutputValues(values map[string]cty.Value, generated map[string]bool) hcl.Diagnostics {
	_, all := d.EvaluateOutputs(sampleScope(), values)
	var diags hcl.Diagnostics
	for _, diag := range all {
		if owner := d.ownerOf(diag); owner != nil && d.varies(owner, generated, map[hcl.Expression]bool{}) {
			continue
		}
		shown := *diag
		diags = append(diags, &shown)
	}
	return diags
}

// ownerOf returns the output or local value with an error, or nil.
func (d *Definition) ownerOf(diag *hcl.Diagnostic) hcl.Expression {
	var owners []hcl.Expression
	for _, o := range d.Outputs {
		owners = append(owners, o.value)
	}
	for _, a := range d.locals {
		owners = append(owners, a.Expr)
	}
	i := slices.IndexFunc(owners, func(e hcl.Expression) bool {
		return diag.Subject != nil && e.Range().Filename == diag.Subject.Filename && e.Range().Overlaps(*diag.Subject)
	})
	if i < 0 {
		return nil
	}
	return owners[i]
}

// varies reports whether an expression depends on the job or on a parameter with a generated value.
func (d *Definition) varies(expr hcl.Expression, generated map[string]bool, seen map[hcl.Expression]bool) bool {
	if seen[expr] {
		return false
	}
	seen[expr] = true
	for _, t := range expr.Variables() {
		second := ""
		if len(t) > 1 {
			second = AttributeName(t[1])
		}
		switch root := t.RootName(); {
		case scopeNames()[root] != nil:
			return true
		case root == "param" && (generated[second] || second == "" && slices.Contains(slices.Collect(maps.Values(generated)), true)):
			return true
		}
		if a := d.local(localOf(t)); a != nil && d.varies(a.Expr, generated, seen) {
			return true
		}
	}
	return false
}

// LintUses checks the outputs of other sidecars to which the definition refers: an unknown output is an
// error, an unknown sidecar a warning. Both are about definitions in the catalog.
func (c *Catalog) LintUses(d *Definition) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, ref := range d.uses {
		versions := c.byName[ref.Sidecar]
		switch {
		case ref.Sidecar == d.Name: // checked when it was parsed
		case len(versions) == 0:
			diag := diagnostic.Error(ref.Range, "Unknown sidecar", fmt.Sprintf(
				"There is no sidecar %q among the checked definitions, so its output %q is not checked.%s Check both in one run, or correct the name.",
				ref.Sidecar, ref.Output, didYouMean(ref.Sidecar, c.Names())))
			diag.Severity = hcl.DiagWarning
			diags = append(diags, diag)
		case !slices.ContainsFunc(versions, func(v *Definition) bool { return slices.Contains(v.OutputNames(), ref.Output) }):
			diags = append(diags, versions[0].NoOutput(ref))
		}
	}
	return diags
}

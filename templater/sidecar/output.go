package sidecar

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Output is a value of the sidecar that others in the group can use, as sidecar.NAME.OUTPUT.
type Output struct {
	Name        string
	Description string
	Range       hcl.Range
	value       hcl.Expression
}

// Result is the value of an output in one group. It is sensitive if it depends on a sensitive value.
type Result struct {
	Value     cty.Value
	Sensitive bool
}

func (d *Definition) decodeOutput(b *hcl.Block) hcl.Diagnostics {
	o := &Output{Name: b.Labels[0], Range: b.DefRange}
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attrs("value!", "description")})
	if !hclsyntax.ValidIdentifier(o.Name) {
		diags = append(diags, diagnostic.Error(b.LabelRanges[0], "Invalid output name",
			fmt.Sprintf("%q cannot name an output: use letters, digits, dashes and underscores, starting with a letter.", o.Name)))
	}
	if a := content.Attributes["description"]; a != nil {
		diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, &o.Description)...)
	}
	if a := content.Attributes["value"]; a != nil {
		o.value = a.Expr
	}
	d.Outputs = append(d.Outputs, o)
	return diags
}

// OutputNames returns the names of the outputs, in the order of the definition.
func (d *Definition) OutputNames() []string {
	out := make([]string, 0, len(d.Outputs))
	for _, o := range d.Outputs {
		out = append(out, o.Name)
	}
	return out
}

// Uses returns the outputs of sidecars to which the definition itself refers, each once.
func (d *Definition) Uses() []OutputRef { return d.uses }

// EvaluateOutputs returns the outputs by name. Values come from Bind. Parameters in
// Scope.Sensitive are sensitive too.
func (d *Definition) EvaluateOutputs(scope Scope, values map[string]cty.Value) (map[string]Result, hcl.Diagnostics) {
	budget := bounds.NewBudget()
	e := &evaluator{def: d, ctx: budget.In(d.context(scope, values)), unknown: scope.Unknown, tainted: scope.Sensitive}
	e.locals(d.locals)
	wrong := e.diags.HasErrors()
	out := map[string]Result{}
	for _, o := range d.Outputs {
		v, ok := e.value(o.value)
		if !ok {
			continue
		}
		if !v.IsWhollyKnown() && wrong {
			continue // a local value has an error
		}
		if !v.IsWhollyKnown() {
			e.notKnown(o.value, "Unknown value", fmt.Sprintf("Output %q of sidecar %q depends on something that is only known once the job is parsed. Give the job's variables with -var or -var-file.", o.Name, d.Name))
			continue
		}
		if err := bounds.Check(v); err != nil {
			e.fail(o.Range, "Invalid output", fmt.Sprintf("Output %q of sidecar %q: %s.", o.Name, d.Name, err))
			continue
		}
		out[o.Name] = Result{v, e.sensitive(o.value, map[hcl.Expression]bool{}) != ""}
	}
	if over := budget.Exceeded(); over.HasErrors() {
		return nil, over // later errors would be consequences
	}
	if e.diags.HasErrors() {
		return nil, e.diags
	}
	return out, nil
}

// checkOutputs reports references in outputs, and references of the definition to its own outputs.
func (d *Definition) checkOutputs() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, o := range d.Outputs {
		diags = append(diags, d.checkExpression(o.value, refScope{job: true})...)
	}
	for _, ref := range d.uses {
		if ref.Sidecar == d.Name && !slices.Contains(d.OutputNames(), ref.Output) {
			diags = append(diags, d.NoOutput(ref))
		}
	}
	return diags
}

// NoOutput returns an error about a reference to an output that the definition does not have.
func (d *Definition) NoOutput(ref OutputRef) *hcl.Diagnostic {
	return diagnostic.Error(ref.Range, "Unknown output", fmt.Sprintf("Sidecar %q %s has no output %q.%s It has: %s.",
		d.Name, d.Version, ref.Output, didYouMean(ref.Output, d.OutputNames()), listOr(d.OutputNames(), "none")))
}

// SidecarsValue returns the object that references to outputs are evaluated with.
func SidecarsValue(results map[string]map[string]Result) cty.Value {
	out := map[string]cty.Value{}
	for name, of := range results {
		values := map[string]cty.Value{}
		for output, r := range of {
			values[output] = r.Value
		}
		out[name] = cty.ObjectVal(values)
	}
	return cty.ObjectVal(out)
}

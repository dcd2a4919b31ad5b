package sidecar

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Example is a use of the sidecar for its documentation. It has either Parameters or a Job.
type Example struct {
	Name        string
	Description string
	// Parameters are values in the order of the file; empty for the defaults.
	Parameters []ExampleValue
	// Job is the text of a job file that chooses the sidecar, "" if Parameters are given.
	Job string
	// JobRange is the position of the expression of Job.
	JobRange hcl.Range
	Range    hcl.Range
}

// ExampleValue is the value of a parameter in an example, as its author wrote it.
type ExampleValue struct {
	Name  string
	Value cty.Value
	Range hcl.Range
}

// maxExamples limits the examples of a definition: lint injects each.
const maxExamples = 20

func (d *Definition) decodeExample(b *hcl.Block) hcl.Diagnostics {
	if len(d.Examples) == maxExamples {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Too many examples",
			fmt.Sprintf("A definition has at most %d examples. Keep those that differ most.", maxExamples))}
	}
	e := &Example{Name: b.Labels[0], Range: b.DefRange}
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attrs("description", "parameters", "job")})
	for name, into := range map[string]*string{"description": &e.Description, "job": &e.Job} {
		if a := content.Attributes[name]; a != nil {
			diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, into)...)
		}
	}
	if a := content.Attributes["job"]; a != nil {
		e.JobRange = a.Expr.Range()
	}
	parameters := content.Attributes["parameters"]
	if parameters != nil {
		var more hcl.Diagnostics
		e.Parameters, more = exampleValues(parameters.Expr)
		diags = append(diags, more...)
	}
	if strings.TrimSpace(e.Name) == "" {
		diags = append(diags, diagnostic.Error(b.LabelRanges[0], "Invalid example name", "An example needs a name that says what it shows."))
	}
	if (parameters == nil) == (content.Attributes["job"] == nil) && !diags.HasErrors() {
		diags = append(diags, diagnostic.Error(b.DefRange, "Invalid example",
			"An example has either parameters = { … } for this sidecar, or job, the text of a job file that chooses it."))
	}
	d.Examples = append(d.Examples, e)
	return diags
}

// exampleValues reads an object with constant values.
func exampleValues(expr hcl.Expression) ([]ExampleValue, hcl.Diagnostics) {
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil, hcl.Diagnostics{diagnostic.Error(expr.Range(), "Invalid parameters", "parameters is an object: parameters = { name = value }.")}
	}
	var out []ExampleValue
	for _, pair := range pairs {
		if bad := notConstant(pair.Value); bad != nil {
			diags = append(diags, bad)
			continue
		}
		key, more := bounds.Value(pair.Key, nil)
		value, worse := bounds.Value(pair.Value, nil)
		diags = append(append(diags, more...), worse...)
		if more.HasErrors() || worse.HasErrors() {
			continue
		}
		name, err := convert.Convert(key, cty.String)
		if err != nil || name.IsNull() || !name.IsKnown() {
			diags = append(diags, diagnostic.Error(pair.Key.Range(), "Invalid parameters", "A key is the name of a parameter."))
			continue
		}
		if RefersToOutput(value) {
			diags = append(diags, outputInExample(pair.Value.Range()))
			continue
		}
		at := hcl.RangeBetween(pair.Key.Range(), pair.Value.Range())
		out = append(out, ExampleValue{name.AsString(), value, at})
	}
	return out, diags
}

// notConstant returns an error about a reference to an output in the parameters of an example.
func notConstant(value hcl.Expression) *hcl.Diagnostic {
	for _, t := range value.Variables() {
		if t.RootName() == OutputRoot {
			return outputInExample(t.SourceRange())
		}
	}
	return nil
}

func outputInExample(at hcl.Range) *hcl.Diagnostic {
	return diagnostic.Error(at, "Output in an example", "The parameters of an example cannot use outputs, because its job has no other sidecar. Give the example a job that chooses both sidecars.")
}

// lintExamples binds the parameters of each example.
func (d *Definition) lintExamples() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, e := range d.Examples {
		more := d.BindExample(e)
		for _, diag := range d.Deprecations(e.Arguments(), e.Range) {
			if diag.Summary == deprecatedParameter {
				more = append(more, diag)
			}
		}
		for _, diag := range more {
			diag.Detail = fmt.Sprintf("In example %q: %s", e.Name, diag.Detail)
		}
		diags = append(diags, more...)
	}
	return diags
}

// BindExample returns the errors about the parameters of an example.
func (d *Definition) BindExample(e *Example) hcl.Diagnostics {
	if e.Job != "" {
		return nil // its job chooses the values
	}
	_, diags := d.Bind(e.Arguments(), e.Range)
	return diags
}

// Arguments returns the parameters of the example, with positions in the definition's file.
func (e *Example) Arguments() map[string]Argument {
	out := map[string]Argument{}
	for _, p := range e.Parameters {
		out[p.Name] = Argument{Value: p.Value, Range: p.Range, Safe: e.Range}
	}
	return out
}

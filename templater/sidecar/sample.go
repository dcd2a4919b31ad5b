package sidecar

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

func sampleScope() Scope {
	return Scope{
		JobID: "job", JobName: "job", Namespace: "default", JobType: "service", Region: "global",
		GroupName: "group", Count: cty.NumberIntVal(1), AppTasks: []string{"app"},
	}
}

// Sample evaluates the definition for a sample group, with its defaults and, for
// required parameters, examples or generated values. It returns nil if these are
// invalid.
func (d *Definition) Sample() *Instance {
	inst, _ := d.trySample()
	return inst
}

// trySample is Sample. It also returns the errors that occur for every job, without errors of
// expressions that depend on the job or on a generated value.
func (d *Definition) trySample() (*Instance, hcl.Diagnostics) {
	scope := sampleScope()
	scope.Outputs = d.sampleOutputs()
	inst, diags := d.Evaluate(scope, d.sampleValues())
	if !diags.HasErrors() {
		return inst, nil
	}
	if slices.ContainsFunc(d.Parameters, func(p *Parameter) bool { return p.Required() && p.Example == cty.NilVal }) {
		return nil, nil
	}
	return nil, slices.DeleteFunc(diags, func(diag *hcl.Diagnostic) bool { return diag.Expression != nil })
}

// SampleOutputs returns the outputs for a sample group; nil if the samples are invalid.
func (d *Definition) SampleOutputs() map[string]Result {
	out, _ := d.EvaluateOutputs(sampleScope(), d.sampleValues())
	return out
}

// sampleOutputs returns the definition's own outputs, and a text for each output of another sidecar
// to which it refers.
func (d *Definition) sampleOutputs() map[string]map[string]Result {
	out := map[string]map[string]Result{d.Name: d.SampleOutputs()}
	for _, ref := range d.uses {
		if ref.Sidecar == d.Name {
			continue
		}
		if out[ref.Sidecar] == nil {
			out[ref.Sidecar] = map[string]Result{}
		}
		out[ref.Sidecar][ref.Output] = Result{Value: cty.StringVal("1")}
	}
	return out
}

// Sample returns the parameter's example, or a generated value of its type.
func (p *Parameter) Sample() cty.Value {
	if p.Example != cty.NilVal {
		return p.Example
	}
	return sample(p.Type)
}

func (d *Definition) sampleValues() map[string]cty.Value {
	values := map[string]cty.Value{}
	for _, p := range d.Parameters {
		values[p.Name] = p.Default
		if p.Required() {
			values[p.Name] = p.Sample()
		}
	}
	return values
}

// sample generates a value of a type.
func sample(t cty.Type) cty.Value {
	switch {
	case t == cty.Number:
		return cty.NumberIntVal(1)
	case t == cty.Bool:
		return cty.True
	case t.IsListType():
		return cty.ListVal([]cty.Value{sample(t.ElementType())})
	case t.IsSetType():
		return cty.SetVal([]cty.Value{sample(t.ElementType())})
	case t.IsMapType():
		return cty.MapVal(map[string]cty.Value{"key": sample(t.ElementType())})
	case t.IsTupleType():
		items := []cty.Value{}
		for _, e := range t.TupleElementTypes() {
			items = append(items, sample(e))
		}
		return cty.TupleVal(items)
	case t.IsObjectType():
		attrs := map[string]cty.Value{}
		for k, e := range t.AttributeTypes() {
			attrs[k] = sample(e)
		}
		return cty.ObjectVal(attrs)
	}
	return cty.StringVal("1")
}

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// validation is a condition that jobs must meet.
type validation struct {
	condition, message hcl.Expression
	at                 hcl.Range
}

func decodeValidation(b *hcl.Block) (*validation, hcl.Diagnostics) {
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes("condition!", "error_message!")})
	v := &validation{at: b.DefRange}
	for name, into := range map[string]*hcl.Expression{"condition": &v.condition, "error_message": &v.message} {
		if a := content.Attributes[name]; a != nil {
			*into = a.Expr
			diags = append(diags, checkReferences(a.Expr)...)
		}
	}
	if v.condition != nil && len(v.condition.Variables()) == 0 && !diags.HasErrors() {
		diags = append(diags, errorAt(v.condition.Range(), "Condition without a reference", "The condition says the same of every job. Refer to job, group or app."))
	}
	return v, diags
}

// check is nil if the group passes. A condition that cannot be evaluated is not met.
func (v *validation) check(r *Rule, job *templater.Job, g *templater.Group) *hcl.Diagnostic {
	ctx := r.scope(job, g)
	result, diags := bounds.Value(v.condition, ctx)
	if !diags.HasErrors() {
		if b, err := convert.Convert(result, cty.Bool); err == nil && b.IsKnown() && !b.IsNull() && b.True() {
			return nil
		}
	}
	var text string
	if !diags.HasErrors() {
		diags = gohcl.DecodeExpression(v.message, ctx, &text)
	}
	if diags.HasErrors() {
		text = "its validation cannot be evaluated for this job: " + diags[0].Detail
	}
	d := errorAt(v.at, "Not allowed by policy", fmt.Sprintf("Rule %q: %s", r.Name, text))
	d.Extra = templater.ByRule(r.Name)
	return d
}

// names are the references that expressions of a policy may hold.
func names() map[string][]string {
	return map[string][]string{
		"job":   {"id", "name", "namespace", "type", "region", "node_pool", "datacenters", "meta"},
		"group": {"name", "count", "meta", "networks", "drivers", "images"},
		"app":   {"tasks"},
	}
}

// scope is what expressions see of a group, as it is without injected parts.
func (r *Rule) scope(j *templater.Job, g *templater.Group) *hcl.EvalContext {
	count := g.Count
	if count == cty.NilVal {
		count = cty.UnknownVal(cty.Number)
	}
	var tasks []string
	for _, t := range g.Tasks {
		tasks = append(tasks, t.Name)
	}
	return bounds.NewBudget().In(&hcl.EvalContext{Functions: r.functions, Variables: map[string]cty.Value{
		"job": cty.ObjectVal(map[string]cty.Value{
			"id": cty.StringVal(j.ID), "name": cty.StringVal(j.Name), "namespace": cty.StringVal(j.Namespace),
			"type": cty.StringVal(j.Type), "region": cty.StringVal(j.Region), "node_pool": cty.StringVal(j.NodePool),
			"datacenters": list(j.Datacenters), "meta": texts(j.Meta),
		}),
		"group": cty.ObjectVal(map[string]cty.Value{
			"name": cty.StringVal(g.Name), "count": count, "meta": texts(g.Meta),
			"networks": list(modes(g)), "drivers": list(drivers(g)), "images": images(g),
		}),
		"app": cty.ObjectVal(map[string]cty.Value{"tasks": list(tasks)}),
	}})
}

// images are those that the tasks of the group run from, by whichever driver. One that
// cannot be told, such as one by a variable without a value, is unknown.
func images(g *templater.Group) cty.Value {
	out := []cty.Value{}
	for _, t := range slices.Concat(g.Tasks, g.Kept) {
		image, ok := t.Config["image"]
		if !ok {
			continue
		}
		text, err := convert.Convert(image.Value, cty.String)
		if err != nil || text.IsNull() {
			text = cty.UnknownVal(cty.String)
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	return cty.ListVal(out)
}

func list(in []string) cty.Value {
	out := make([]cty.Value, 0, len(in))
	for _, s := range in {
		out = append(out, cty.StringVal(s))
	}
	if len(out) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	return cty.ListVal(out)
}

func texts(in map[string]templater.Text) cty.Value {
	out := map[string]cty.Value{}
	for k, v := range in {
		out[k] = cty.StringVal(v.Value)
		if v.Unknown {
			out[k] = cty.UnknownVal(cty.String)
		}
	}
	if len(out) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	return cty.MapVal(out)
}

// checkReferences finds references and functions that no evaluation could resolve,
// so that they are known when a policy is read.
func checkReferences(expr hcl.Expression) hcl.Diagnostics {
	var diags hcl.Diagnostics
	known := names()
	for _, t := range expr.Variables() {
		at := t.SourceRange()
		fields, ok := known[t.RootName()]
		if !ok {
			diags = append(diags, errorAt(at, "Unknown reference", fmt.Sprintf("There is no %q in a policy. There is: job, group, app.", t.RootName())))
			continue
		}
		if len(t) > 1 {
			if step, ok := t[1].(hcl.TraverseAttr); ok && !slices.Contains(fields, step.Name) {
				diags = append(diags, errorAt(at, "Unknown reference", fmt.Sprintf("There is no %s.%s. There is: %s.", t.RootName(), step.Name, strings.Join(fields, ", "))))
			}
		}
	}
	functions := sidecar.Functions()
	if node, ok := expr.(hclsyntax.Node); ok {
		diags = append(diags, hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				if _, ok := functions[call.Name]; !ok {
					return hcl.Diagnostics{errorAt(call.NameRange, "Unknown function", fmt.Sprintf("There is no function %q. A policy has those that definitions have.", call.Name))}
				}
			}
			return nil
		})...)
	}
	return diags
}

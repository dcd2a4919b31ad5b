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
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
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
			diags = append(diags, checkReferences(a.Expr, true)...)
		}
	}
	if v.condition != nil && len(v.condition.Variables()) == 0 && !diags.HasErrors() {
		diags = append(diags, diagnostic.Error(v.condition.Range(), "Condition without a reference", "The condition says the same of every job. Refer to job, group or app."))
	}
	return v, diags
}

// check is nil if the group passes. A condition that cannot be evaluated is not met.
func (v *validation) check(r *Rule, j *job.Job, g *job.Group, sidecars templater.Sidecars) *hcl.Diagnostic {
	ctx := r.scope(j, g, &sidecars)
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
	d := diagnostic.Error(v.at, "Not allowed by policy", fmt.Sprintf("Rule %q: %s", r.Name, text)+v.unproven(g, sidecars.Kept))
	d.Extra = templater.ByRule(r.Name)
	return d
}

// unproven says why sidecars that the job came with are none to the condition.
func (v *validation) unproven(g *job.Group, kept []string) string {
	asks := slices.ContainsFunc(v.condition.Variables(), func(t hcl.Traversal) bool {
		return t.RootName() == "group" && len(t) > 1 && attribute(t[1]) == chosenSidecars
	})
	if len(kept) == 0 || !asks {
		return ""
	}
	return fmt.Sprintf(" Group %q came with tasks marked as %s, which do not count, as anybody can write a mark. Choose by meta %q instead.", g.Name, strings.Join(kept, ", "), "sidecar.inject")
}

// attribute is empty for a step that is none.
func attribute(step hcl.Traverser) string {
	a, _ := step.(hcl.TraverseAttr)
	return a.Name
}

// chosenSidecars is the field of a group that only conditions see: what a rule injects
// cannot depend on what is injected.
const chosenSidecars = "sidecars"

// names are the references that expressions of a policy may hold.
func names(condition bool) map[string][]string {
	out := map[string][]string{
		"job":   {"id", "name", "namespace", "type", "region", "node_pool", "datacenters", "meta"},
		"group": {"name", "count", "meta", "networks", "drivers", "images"},
		"app":   {"tasks"},
	}
	if condition {
		out["group"] = append(out["group"], chosenSidecars)
	}
	return out
}

// scope is what expressions see of a group, as it is without injected parts. Sidecars is
// nil where they are not known yet.
func (r *Rule) scope(j *job.Job, g *job.Group, sidecars *templater.Sidecars) *hcl.EvalContext {
	count := g.Count
	if count == cty.NilVal {
		count = cty.UnknownVal(cty.Number)
	}
	var tasks []string
	for _, t := range g.Tasks {
		tasks = append(tasks, t.Name)
	}
	group := map[string]cty.Value{
		"name": cty.StringVal(g.Name), "count": count, "meta": texts(g.Meta),
		"networks": list(modes(g)), "drivers": list(drivers(g)), "images": images(g),
	}
	if sidecars != nil {
		group[chosenSidecars] = list(sidecars.Chosen)
	}
	return bounds.NewBudget().In(&hcl.EvalContext{Functions: r.functions, Variables: map[string]cty.Value{
		"job": cty.ObjectVal(map[string]cty.Value{
			"id": cty.StringVal(j.ID), "name": cty.StringVal(j.Name), "namespace": cty.StringVal(j.Namespace),
			"type": cty.StringVal(j.Type), "region": cty.StringVal(j.Region), "node_pool": cty.StringVal(j.NodePool),
			"datacenters": list(j.Datacenters), "meta": texts(j.Meta),
		}),
		"group": cty.ObjectVal(group),
		"app":   cty.ObjectVal(map[string]cty.Value{"tasks": list(tasks)}),
	}})
}

// images are those that the tasks of the group run from, by whichever driver. One that
// cannot be told, such as one by a variable without a value, is unknown.
func images(g *job.Group) cty.Value {
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

func texts(in map[string]job.Text) cty.Value {
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
// so that they are known when a policy is read. Condition says that it is part of one.
func checkReferences(expr hcl.Expression, condition bool) hcl.Diagnostics {
	var diags hcl.Diagnostics
	known := names(condition)
	for _, t := range expr.Variables() {
		at := t.SourceRange()
		fields, ok := known[t.RootName()]
		if !ok {
			diags = append(diags, diagnostic.Error(at, "Unknown reference", fmt.Sprintf("There is no %q in a policy. There is: job, group, app.", t.RootName())))
			continue
		}
		if len(t) > 1 {
			if name := attribute(t[1]); name != "" && !slices.Contains(fields, name) {
				text := fmt.Sprintf("There is no %s.%s. There is: %s.", t.RootName(), name, strings.Join(fields, ", "))
				if t.RootName() == "group" && name == chosenSidecars {
					text = "Only conditions see group.sidecars: what a rule injects cannot depend on what is injected."
				}
				diags = append(diags, diagnostic.Error(at, "Unknown reference", text))
			}
		}
	}
	functions := sidecar.Functions()
	if node, ok := expr.(hclsyntax.Node); ok {
		diags = append(diags, hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				if _, ok := functions[call.Name]; !ok {
					return hcl.Diagnostics{diagnostic.Error(call.NameRange, "Unknown function", fmt.Sprintf("There is no function %q. A policy has those that definitions have.", call.Name))}
				}
			}
			return nil
		})...)
	}
	return diags
}

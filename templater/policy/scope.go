package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// validation is a condition that a job must fulfil.
type validation struct {
	condition, message hcl.Expression
	// warns means that a job which fails it is admitted with a warning.
	warns bool
	at    hcl.Range
}

// Levels of a validation.
const (
	levelDeny = "deny"
	levelWarn = "warn"
)

func decodeValidation(b *hcl.Block) (*validation, hcl.Diagnostics) {
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes("condition!", "error_message!", "level")})
	v := &validation{at: b.DefRange}
	if a := content.Attributes["level"]; a != nil {
		var level string
		more := gohcl.DecodeExpression(a.Expr, nil, &level)
		if !more.HasErrors() && level != levelDeny && level != levelWarn {
			more = append(more, diagnostic.Error(a.Expr.Range(), "Invalid level", `level must be "deny", the default, or "warn".`))
		}
		diags, v.warns = append(diags, more...), level == levelWarn
	}
	for name, into := range map[string]*hcl.Expression{"condition": &v.condition, "error_message": &v.message} {
		if a := content.Attributes[name]; a != nil {
			*into = a.Expr
			diags = append(diags, checkReferences(a.Expr, inCondition)...)
		}
	}
	if v.condition != nil && len(v.condition.Variables()) == 0 && !diags.HasErrors() {
		diags = append(diags, checkConstant(v.condition)...)
	}
	return v, diags
}

// checkConstant reports a condition that is never true or false. One that is the same for every job
// is a valid rule, such as "no deployments this week".
func checkConstant(condition hcl.Expression) hcl.Diagnostics {
	v, diags := bounds.Value(condition, bounds.NewBudget().In(&hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: sidecar.Functions()}))
	if diags.HasErrors() {
		return diags
	}
	if b, err := convert.Convert(v, cty.Bool); err != nil || b.IsNull() {
		return hcl.Diagnostics{diagnostic.Error(condition.Range(), "Invalid condition", "A condition must be true or false.")}
	}
	return nil
}

// check returns nil if the group passes. A condition that cannot be evaluated fails.
func (v *validation) check(r *Rule, j *job.Job, g *job.Group, sidecars templater.Sidecars) *hcl.Diagnostic {
	d := v.judge(r, j, g, sidecars)
	if d != nil && v.warns {
		d.Severity = hcl.DiagWarning
	}
	return d
}

func (v *validation) judge(r *Rule, j *job.Job, g *job.Group, sidecars templater.Sidecars) *hcl.Diagnostic {
	ctx := r.scope(j, g, &sidecars)
	result, diags := bounds.Value(v.condition, ctx)
	if !diags.HasErrors() {
		b, err := convert.Convert(result, cty.Bool)
		if err == nil && !b.IsKnown() {
			if u := sidecar.UnknownIn(v.condition, unknowns(j, g)); u != nil {
				return u.Error(fmt.Sprintf("Whether group %q passes rule %q of the policy (%s)", g.Name, r.Name, v.at))
			}
		}
		if err == nil && b.IsKnown() && !b.IsNull() && b.True() {
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
	summary := "Not allowed by policy"
	if v.warns {
		summary = "Warning of the policy"
	}
	d := diagnostic.Error(v.at, summary, fmt.Sprintf("Rule %q: %s", r.Name, text)+v.unproven(g, sidecars.Kept))
	d.Extra = templater.ByRule(r.Name)
	return d
}

// unproven explains why the condition ignores sidecars that the job already contained.
func (v *validation) unproven(g *job.Group, kept []string) string {
	asks := slices.ContainsFunc(v.condition.Variables(), func(t hcl.Traversal) bool {
		return t.RootName() == "group" && len(t) > 1 && attribute(t[1]) == chosenSidecars
	})
	if len(kept) == 0 || !asks {
		return ""
	}
	return fmt.Sprintf(" Group %q contains tasks marked as %s, which do not count, because anyone can write a mark. Choose the sidecars with meta %q instead.", g.Name, strings.Join(kept, ", "), "sidecar.inject")
}

// attribute returns the attribute name of a step, or "" for other steps.
func attribute(step hcl.Traverser) string {
	a, _ := step.(hcl.TraverseAttr)
	return a.Name
}

// chosenSidecars is a field of group available to conditions only: the sidecars that a rule
// injects cannot depend on the injected sidecars.
const chosenSidecars = "sidecars"

// place is where in a policy an expression is.
type place int

const (
	inRule       place = iota // a value
	inParameters              // a value for a sidecar that is chosen already
	inCondition               // an expression of a validation
)

// names returns the references that expressions of a policy may use.
func names(at place) map[string][]string {
	out := map[string][]string{
		"job":   {"id", "name", "namespace", "type", "region", "node_pool", "datacenters", "meta"},
		"group": {"name", "count", "meta", "networks", "drivers", "images"},
		"app":   {"tasks"},
	}
	if at == inParameters {
		out[sidecarRoot] = ofChosen()
	}
	if at == inCondition {
		out["group"] = append(out["group"], chosenSidecars)
		out[requestRoot] = requestFields()
	}
	return out
}

// scope returns the evaluation context for a group without its injected parts. sidecars is nil
// before the sidecars are chosen.
func (r *Rule) scope(j *job.Job, g *job.Group, sidecars *templater.Sidecars) *hcl.EvalContext {
	count := g.Count
	if count == cty.NilVal {
		count = cty.UnknownVal(cty.Number)
	}
	group := map[string]cty.Value{
		"name": cty.StringVal(g.Name), "count": count, "meta": texts(g.Meta, g.MoreMeta),
		"networks": list(modes(g), g.MoreNetworks), "drivers": list(drivers(g), unknownDriver(g)), "images": images(g),
	}
	variables := map[string]cty.Value{
		"job": cty.ObjectVal(map[string]cty.Value{
			"id": text(j.ID), "name": text(j.Name), "namespace": text(j.Namespace),
			"type": text(j.Type), "region": text(j.Region), "node_pool": text(j.NodePool),
			"datacenters": list(j.Datacenters, j.MoreDatacenters), "meta": texts(j.Meta, j.MoreMeta),
		}),
		"app": cty.ObjectVal(map[string]cty.Value{"tasks": list(plain(g.TaskNames()), g.MoreTasks)}),
	}
	if sidecars != nil {
		group[chosenSidecars] = list(plain(sidecars.Chosen), nil)
		variables[requestRoot] = requestValue(j.Requester)
	}
	variables["group"] = cty.ObjectVal(group)
	return bounds.NewBudget().In(&hcl.EvalContext{Functions: r.functions, Variables: variables})
}

// unknownDriver returns the reason why the number of a group's drivers is unknown: two unknown
// drivers may be the same.
func unknownDriver(g *job.Group) *diagnostic.Unknown {
	if g.MoreTasks != nil {
		return g.MoreTasks
	}
	for _, d := range drivers(g) {
		if d.Unknown != nil {
			return d.Unknown
		}
	}
	return nil
}

// unknowns returns, by reference, the reasons why values of the scope are unknown.
func unknowns(j *job.Job, g *job.Group) map[string]*diagnostic.Unknown {
	out := map[string]*diagnostic.Unknown{}
	note := func(name string, more *diagnostic.Unknown, texts ...job.Text) {
		for _, t := range texts {
			more = cmp.Or(more, t.Unknown)
		}
		if more != nil {
			out[name] = more
		}
	}
	for name, t := range map[string]job.Text{"id": j.ID, "name": j.Name, "namespace": j.Namespace, "type": j.Type, "region": j.Region, "node_pool": j.NodePool} {
		note("job."+name, nil, t)
	}
	note("job.datacenters", j.MoreDatacenters, j.Datacenters...)
	note("job.meta", j.MoreMeta)
	note("group.meta", g.MoreMeta)
	note("group.count", g.UnknownCount)
	note("group.networks", g.MoreNetworks, modes(g)...)
	note("group.images", g.MoreTasks)
	note("app.tasks", g.MoreTasks)
	note("group.drivers", unknownDriver(g))
	for key, t := range j.Meta {
		note("job.meta."+key, nil, t)
	}
	for key, t := range g.Meta {
		note("group.meta."+key, nil, t)
	}
	for _, t := range slices.Concat(g.Tasks, g.Kept, g.Proxies) {
		note("group.images", cmp.Or(t.Config["image"].Unknown, t.MoreConfig))
	}
	return out
}

// images returns the images of the group's tasks, regardless of their driver. An image is unknown
// if, for example, it uses a variable without a value.
func images(g *job.Group) cty.Value {
	if g.MoreTasks != nil {
		return cty.UnknownVal(cty.List(cty.String))
	}
	out := []cty.Value{}
	for _, t := range slices.Concat(g.Tasks, g.Kept, g.Proxies) {
		if t.MoreConfig != nil {
			return cty.UnknownVal(cty.List(cty.String))
		}
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

func text(t job.Text) cty.Value {
	if t.Unknown != nil {
		return cty.UnknownVal(cty.String)
	}
	return cty.StringVal(t.Value)
}

func plain(in []string) []job.Text {
	out := make([]job.Text, 0, len(in))
	for _, s := range in {
		out = append(out, job.Text{Value: s})
	}
	return out
}

func list(in []job.Text, more *diagnostic.Unknown) cty.Value {
	if more != nil {
		return cty.UnknownVal(cty.List(cty.String))
	}
	out := make([]cty.Value, 0, len(in))
	for _, t := range in {
		out = append(out, text(t))
	}
	if len(out) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	return cty.ListVal(out)
}

func texts(in map[string]job.Text, more *diagnostic.Unknown) cty.Value {
	if more != nil {
		return cty.UnknownVal(cty.Map(cty.String))
	}
	out := map[string]cty.Value{}
	for k, t := range in {
		out[k] = text(t)
	}
	if len(out) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	return cty.MapVal(out)
}

// checkReferences reports references and functions that can never be resolved, so that such errors
// show up when the policy is loaded.
func checkReferences(expr hcl.Expression, at place) hcl.Diagnostics {
	var diags hcl.Diagnostics
	known := names(at)
	for _, t := range expr.Variables() {
		if t.RootName() == sidecarRoot && len(t) > 2 && at != inCondition {
			continue // an output, which CheckCatalog checks
		}
		fields, ok := known[t.RootName()]
		if !ok {
			text := fmt.Sprintf("A policy has no %q. It has: job, group, app, sidecar in parameters, and request in validations.", t.RootName())
			if t.RootName() == requestRoot {
				text = onlyValidations
			}
			diags = append(diags, diagnostic.Error(t.SourceRange(), "Unknown reference", text))
			continue
		}
		if len(t) > 1 {
			if name := attribute(t[1]); name != "" && !slices.Contains(fields, name) {
				text := fmt.Sprintf("There is no %s.%s. Use one of: %s.", t.RootName(), name, strings.Join(fields, ", "))
				if t.RootName() == "group" && name == chosenSidecars {
					text = "Only conditions may use group.sidecars: the sidecars of a rule cannot depend on the injected sidecars."
				}
				diags = append(diags, diagnostic.Error(t.SourceRange(), "Unknown reference", text))
			}
		}
	}
	functions := sidecar.Functions()
	if node, ok := expr.(hclsyntax.Node); ok {
		diags = append(diags, hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				if _, ok := functions[call.Name]; !ok {
					return hcl.Diagnostics{diagnostic.Error(call.NameRange, "Unknown function", fmt.Sprintf("There is no function %q. A policy has the same functions as a definition.", call.Name))}
				}
			}
			return nil
		})...)
	}
	return diags
}

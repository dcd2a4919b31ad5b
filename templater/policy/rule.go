package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Rule is a rule of a policy. It applies to the groups that its match block selects.
type Rule struct {
	Name, Description string
	// Required sidecars cannot be disabled by the job.
	Required bool
	// Skip continues without the sidecars if they cannot be injected; otherwise the job is denied.
	Skip  bool
	Range hcl.Range

	match       match
	request     requestMatch // nil for any
	injects     []*inject
	parameters  []*inject // of sidecars that something else chooses
	defaults    []*job.Default
	defaultsAt  *hcl.Range
	validations []*validation
	// connect is the driver of the proxies of Consul's service mesh, "" for none.
	connect   string
	connectAt hcl.Range
	// functions are the functions available to the rule's expressions. Creating them for each
	// group would cause a quarter of a decision's allocations.
	functions map[string]function.Function
}

// inject is a sidecar that a rule chooses, or the parameters of one. Then sidecar is a pattern.
type inject struct {
	sidecar, constraint string
	values              hcl.Attributes
	// sensitive lists the values that the catalog's definition marks as sensitive; see CheckCatalog.
	sensitive map[string]bool
	at        hcl.Range
}

func attributes(names ...string) []hcl.AttributeSchema {
	var out []hcl.AttributeSchema
	for _, n := range names {
		name, required := strings.CutSuffix(n, "!")
		out = append(out, hcl.AttributeSchema{Name: name, Required: required})
	}
	return out
}

func decodeRule(b *hcl.Block) (*Rule, hcl.Diagnostics) {
	r := &Rule{Name: b.Labels[0], Range: b.DefRange, functions: sidecar.Functions()}
	content, diags := b.Body.Content(&hcl.BodySchema{
		Attributes: attributes("description", "required", "on_error", "connect"),
		Blocks:     []hcl.BlockHeaderSchema{{Type: "match"}, {Type: "inject", LabelNames: []string{"sidecar"}}, {Type: "parameters", LabelNames: []string{"sidecar"}}, {Type: "default"}, {Type: "validation"}},
	})
	var onError string
	for name, into := range map[string]any{"description": &r.Description, "required": &r.Required, "on_error": &onError, "connect": &r.connect} {
		if a := content.Attributes[name]; a != nil {
			diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, into)...)
		}
	}
	if a := content.Attributes["on_error"]; a != nil && onError != "deny" && onError != "skip" {
		diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid on_error", `on_error must be "deny", the default, or "skip".`))
	}
	r.Skip = onError == "skip"
	if a := content.Attributes["connect"]; a != nil {
		if r.connectAt = a.Range; r.connect != templater.PodDriver {
			diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid connect", `connect must be "pod": the driver of the proxies in groups whose tasks all use driver "pod".`))
		}
	}
	for _, blk := range content.Blocks {
		diags = append(diags, r.decodeBlock(blk)...)
	}
	return r, append(diags, r.check(b, content)...)
}

func (r *Rule) decodeBlock(b *hcl.Block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	switch b.Type {
	case "match":
		if r.match != nil {
			return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Duplicate match block", "A rule may have only one match block, whose attributes must all match. Add another rule, or list several values in an attribute.")}
		}
		r.match, r.request, diags = decodeMatch(b)
	case "inject":
		in, more := decodeValues(b, inRule)
		diags = more
		if slices.ContainsFunc(r.injects, func(o *inject) bool { return o.sidecar == in.sidecar }) {
			diags = append(diags, diagnostic.Error(b.DefRange, "Duplicate inject block", fmt.Sprintf("This rule already injects sidecar %q. Merge the two blocks.", in.sidecar)))
		}
		r.injects = append(r.injects, in)
	case "parameters":
		in, more := decodeParameters(b)
		r.parameters, diags = append(r.parameters, in), more
	case "default":
		diags = r.decodeDefault(b)
	case "validation":
		v, more := decodeValidation(b)
		diags = more
		r.validations = append(r.validations, v)
	}
	return diags
}

// onlyWarns reports whether the rule neither changes nor denies a job.
func (r *Rule) onlyWarns() bool {
	return len(r.injects)+len(r.parameters)+len(r.defaults) == 0 && r.connect == "" && !slices.ContainsFunc(r.validations, func(v *validation) bool { return !v.warns })
}

// check reports settings that contradict each other or have no effect.
func (r *Rule) check(b *hcl.Block, content *hcl.BodyContent) hcl.Diagnostics {
	if r.request != nil && (len(r.injects)+len(r.parameters) > 0 || r.connect != "" || r.defaultsAt != nil) {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Injection by requester", onlyValidations)}
	}
	if len(r.injects) > 0 {
		return nil
	}
	if len(r.validations)+len(r.parameters) == 0 && r.defaultsAt == nil && content.Attributes["connect"] == nil {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Rule without effect", fmt.Sprintf("Rule %q neither injects nor validates anything, and has no defaults. Add inject \"name\" { … }, parameters \"name\" { … }, default { … } or validation { … }.", r.Name))}
	}
	var diags hcl.Diagnostics
	for _, name := range []string{"required", "on_error"} {
		if a := content.Attributes[name]; a != nil {
			diags = append(diags, diagnostic.Error(a.NameRange, "Setting without effect", fmt.Sprintf("%s applies to injected sidecars, but rule %q injects none. Remove it; a validation has level instead.", name, r.Name)))
		}
	}
	return diags
}

func decodeValues(b *hcl.Block, at place) (*inject, hcl.Diagnostics) {
	in := &inject{sidecar: b.Labels[0], at: b.DefRange}
	values, diags := b.Body.JustAttributes()
	in.values = values
	if a := values["version"]; a != nil {
		more := gohcl.DecodeExpression(a.Expr, nil, &in.constraint)
		if _, err := version.NewConstraint(in.constraint); err != nil && !more.HasErrors() {
			more = append(more, diagnostic.Error(a.Expr.Range(), "Invalid version constraint", fmt.Sprintf("%q is not a version constraint such as \"~> 1.0\".", in.constraint)))
		}
		diags = append(diags, more...)
		delete(values, "version")
	}
	for _, a := range values {
		diags = append(diags, checkReferences(a.Expr, at)...)
	}
	return in, diags
}

// check reports names that are missing from the catalog, and records sensitive parameters.
func (in *inject) check(catalog job.Catalog) hcl.Diagnostics {
	versions := catalog.Versions(in.sidecar)
	if len(versions) == 0 {
		return hcl.Diagnostics{diagnostic.Error(in.at, "Unknown sidecar", fmt.Sprintf("The catalog has no sidecar %q. It has: %s. Correct the name, or pass its catalog with -catalog.", in.sidecar, strings.Join(catalog.Names(), ", ")))}
	}
	def := catalog.Find(in.sidecar)
	if in.constraint != "" {
		con, err := version.NewConstraint(in.constraint)
		if err != nil {
			return nil // reported when the rule was read
		}
		if def = catalog.Find(in.sidecar, con); def == nil {
			return hcl.Diagnostics{diagnostic.Error(in.at, "No such version", fmt.Sprintf("No version of sidecar %q in the catalog meets %q. The newest one is %s.", in.sidecar, in.constraint, versions[0].Version))}
		}
	}
	in.sensitive = map[string]bool{}
	for _, v := range versions {
		for _, p := range v.Parameters {
			in.sensitive[p.Name] = in.sensitive[p.Name] || p.Sensitive
		}
	}
	var diags hcl.Diagnostics
	var names []string
	for _, p := range def.Parameters {
		names = append(names, p.Name)
	}
	for name, a := range in.values {
		if !slices.Contains(names, name) {
			diags = append(diags, diagnostic.Error(a.NameRange, "Unknown parameter", fmt.Sprintf("Sidecar %q %s has no parameter %q. It has: %s.", in.sidecar, def.Version, name, strings.Join(names, ", "))))
		}
	}
	return diags
}

package policy

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// sidecarRoot is the object with the name and version of the sidecar, in parameters blocks.
const sidecarRoot = sidecar.OutputRoot

// ofChosen returns the attributes of sidecar, besides the outputs of others.
func ofChosen() []string { return []string{"name", "version"} }

// decodeParameters reads values for a sidecar that something else chooses.
func decodeParameters(b *hcl.Block) (*inject, hcl.Diagnostics) {
	in, diags := decodeValues(b, inParameters)
	if _, err := path.Match(in.sidecar, ""); err != nil {
		diags = append(diags, diagnostic.Error(b.LabelRanges[0], "Invalid pattern", fmt.Sprintf("%q is not the name of a sidecar or a pattern such as \"*\" or \"acme-*\".", in.sidecar)))
	}
	if len(in.values) == 0 && !diags.HasErrors() {
		diags = append(diags, diagnostic.Error(b.DefRange, "No parameters", "A parameters block without values has no effect. Set a parameter of the sidecar, or remove the block."))
	}
	return in, diags
}

// covers reports whether the values are for a definition.
func (in *inject) covers(d *sidecar.Definition) bool {
	if ok, err := path.Match(in.sidecar, d.Name); !ok || err != nil {
		return false
	}
	if in.constraint == "" {
		return true
	}
	con, err := version.NewConstraint(in.constraint) // checked when it was read
	return err == nil && con.Check(d.Version)
}

// versionText is the constraint as part of a sentence.
func (in *inject) versionText() string {
	if in.constraint == "" {
		return ""
	}
	return fmt.Sprintf(", a version that meets %q", in.constraint)
}

// checkParameters reports names that no sidecar has, and records sensitive parameters.
func (in *inject) checkParameters(catalog job.Catalog) hcl.Diagnostics {
	in.sensitive = map[string]bool{}
	var known []string
	for _, name := range catalog.Names() {
		for _, d := range catalog.Versions(name) {
			if !in.covers(d) {
				continue
			}
			for _, p := range d.Parameters {
				known = append(known, p.Name)
				in.sensitive[p.Name] = in.sensitive[p.Name] || p.Sensitive
			}
		}
	}
	if known == nil && !strings.ContainsAny(in.sidecar, "*?[") {
		if more := in.check(catalog); more.HasErrors() {
			return more
		}
	}
	if known == nil {
		return hcl.Diagnostics{diagnostic.Error(in.at, "Unknown sidecar", fmt.Sprintf("No sidecar of the catalog has a name like %q%s and parameters. It has: %s. Correct the pattern, or pass the catalog with -catalog.", in.sidecar, in.versionText(), sidecar.NameList(catalog.Names())))}
	}
	var diags hcl.Diagnostics
	slices.Sort(known)
	for _, name := range slices.Sorted(maps.Keys(in.values)) {
		if !slices.Contains(known, name) {
			diags = append(diags, diagnostic.Error(in.values[name].NameRange, "Unknown parameter", fmt.Sprintf("No sidecar of the catalog that %q means has a parameter %q. They have: %s.", in.sidecar, name, strings.Join(slices.Compact(known), ", "))))
		}
	}
	return diags
}

// Parameters returns the values that rules give to parameters of a sidecar that is chosen for a group.
func (p *Policy) Parameters(j *job.Job, g *job.Group, d *sidecar.Definition) ([]*templater.Order, hcl.Diagnostics) {
	var orders []*templater.Order
	var diags hcl.Diagnostics
	for _, r := range p.Rules {
		for _, in := range r.parameters {
			if !in.covers(d) {
				continue
			}
			ok, undecided := r.match.matches(j, g)
			if undecided != nil {
				diags = append(diags, undecided.Error(fmt.Sprintf("Whether rule %q of the policy concerns sidecar %q in group %q", r.Name, d.Name, g.Name)))
			}
			if !ok {
				continue
			}
			o, more := r.order(in, j, g, d)
			orders, diags = append(orders, o), append(diags, more...)
		}
	}
	return orders, diags
}

// order evaluates the values of a block for a group. d is nil for a sidecar that the rule chooses.
func (r *Rule) order(in *inject, j *job.Job, g *job.Group, d *sidecar.Definition) (*templater.Order, hcl.Diagnostics) {
	o := &templater.Order{Rule: r.Name, Required: r.Required, Skip: r.Skip,
		Request: job.Request{Sidecar: in.sidecar, Constraint: in.constraint, Range: in.at, Arguments: map[string]sidecar.Argument{}}}
	var ctx *hcl.EvalContext
	var diags hcl.Diagnostics
	for name, a := range in.values {
		if d != nil && !d.Has(name) {
			continue // the block is for several sidecars
		}
		if ctx == nil {
			if ctx = r.scope(j, g, nil); d != nil {
				ctx.Variables[sidecarRoot] = cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(d.Name), "version": cty.StringVal(d.Version.String())})
			}
		}
		given := sidecar.Argument{From: fmt.Sprintf("policy rule %q", r.Name), Range: a.Range, Safe: in.at}
		argument := func(v cty.Value, more hcl.Diagnostics) (sidecar.Argument, hcl.Diagnostics) {
			arg := given
			if arg.Value = v; !v.IsWhollyKnown() {
				arg.Unknown = sidecar.UnknownIn(a.Expr, unknowns(j, g))
			}
			return arg, in.discreet(r, name, more)
		}
		arg, deferred, more := sidecar.Deferred(a.Expr, ctx, given, argument, ofChosen()...)
		if !deferred && !more.HasErrors() {
			arg, more = argument(bounds.Value(a.Expr, ctx))
		}
		o.Arguments[name], diags = arg, append(diags, more...)
	}
	return o, diags
}

// checkOutputs reports references to outputs that no version in the catalog has.
func (in *inject) checkOutputs(catalog job.Catalog) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, name := range slices.Sorted(maps.Keys(in.values)) {
		refs, more := sidecar.OutputRefs(in.values[name].Expr, ofChosen()...)
		diags = append(diags, more...)
		for _, ref := range refs {
			versions := catalog.Versions(ref.Sidecar)
			switch {
			case len(versions) == 0:
				diags = append(diags, diagnostic.Error(ref.Range, "Unknown sidecar", fmt.Sprintf("The catalog has no sidecar %q. It has: %s. Correct the name, or pass its catalog with -catalog.", ref.Sidecar, sidecar.NameList(catalog.Names()))))
			case !slices.ContainsFunc(versions, func(d *sidecar.Definition) bool { return slices.Contains(d.OutputNames(), ref.Output) }):
				diags = append(diags, versions[0].NoOutput(ref))
			}
		}
	}
	return diags
}

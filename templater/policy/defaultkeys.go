package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// maxKeys limits the keys of a map, and the constraints, for which a rule has defaults.
const maxKeys = 100

// defaultMap reads defaults for the keys of env or meta.
func (r *Rule) defaultMap(f *job.DefaultField, b *hcl.Block) hcl.Diagnostics {
	attrs, diags := b.Body.JustAttributes()
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		a := attrs[name]
		attr, more := constant(a)
		if diags = append(diags, more...); attr == nil {
			continue
		}
		text, err := convert.Convert(attr.Value, cty.String)
		if err != nil {
			diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid default", fmt.Sprintf("The value of %s in %s is not a string. Write a string.", name, f.Name)))
			continue
		}
		raw, _ := json.Marshal(text.AsString()) // a string always marshals
		attr.Value = text
		diags = append(diags, r.keep(&job.Default{Field: f, Key: name, Rule: r.Name, Item: attr, JSON: raw, Range: a.Range})...)
	}
	switch {
	case len(attrs) > maxKeys:
		diags = append(diags, tooMany(f, b.DefRange))
	case len(attrs) == 0 && !diags.HasErrors():
		diags = append(diags, diagnostic.Error(b.DefRange, "Empty default", fmt.Sprintf("This %s block sets nothing. Write name = value in it, or remove it.", f.Name)))
	}
	return diags
}

func tooMany(f *job.DefaultField, at hcl.Range) *hcl.Diagnostic {
	return diagnostic.Error(at, "Too many defaults", fmt.Sprintf("A rule has defaults for at most %d values of %s. Move some into another rule.", maxKeys, f.Name))
}

// operators are Nomad's operators of constraints (scheduler/feasible, checkConstraint).
func operators() []string {
	return []string{
		"=", "!=", "<", "<=", ">", ">=", "version", "semver", "regexp", "set_contains", "set_contains_all",
		"set_contains_any", "is_set", "is_not_set", "distinct_hosts", "distinct_property",
	}
}

// constraintKey sets the key of a default constraint, and checks it.
func (r *Rule) constraintKey(d *job.Default, b *sidecar.Block) *hcl.Diagnostic {
	of := job.Constraint{}
	of.Attribute.Value, of.Operator.Value = b.Body.String("attribute"), b.Body.String("operator")
	d.Key = of.Key()
	operator, count := job.Operator(of.Operator.Value), 0
	switch {
	case !slices.Contains(operators(), operator):
		return diagnostic.Error(d.Range, "Invalid default", fmt.Sprintf("Nomad has no operator %q. It has %s.", of.Operator.Value, strings.Join(operators(), ", ")))
	case of.Attribute.Value == "" && operator != "distinct_hosts":
		return diagnostic.Error(d.Range, "Invalid default", "A constraint needs an attribute, such as attribute = \"${attr.kernel.name}\".")
	case of.Attribute.Value == job.MarkDefaults:
		return diagnostic.Error(d.Range, "Invalid default", fmt.Sprintf("The attribute %q marks defaults. Use another one.", job.MarkDefaults))
	}
	for _, o := range r.defaults {
		if o.Field != d.Field {
			continue
		}
		if count++; o.Key == d.Key {
			return diagnostic.Error(d.Range, "Duplicate default", fmt.Sprintf("This rule already has a constraint with the attribute %q and the operator %q at %s. Remove one of the two.", of.Attribute.Value, operator, o.Range))
		}
	}
	if count == maxKeys {
		return tooMany(d.Field, d.Range)
	}
	return nil
}

package sidecar

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Parameter is a typed parameter of a definition.
type Parameter struct {
	Name        string
	Description string
	// Type is the declared type without optional() modifiers. Without a type a parameter
	// accepts any value.
	Type cty.Type
	// Default is the default; NilVal means that the parameter is required.
	Default cty.Value
	// Example is a value for documentation and checks; NilVal means none.
	Example cty.Value
	// Nullable means that null is a valid value; otherwise null selects the default, as in
	// Terraform.
	Nullable bool
	// Sensitive values appear only in attributes of the definition that use them.
	Sensitive bool
	// Deprecated says what to use instead; "" if the parameter is not deprecated.
	Deprecated string
	Range      hcl.Range

	optional    *typeexpr.Defaults
	validations []validation
}

type validation struct {
	condition hcl.Expression
	message   string
	at        hcl.Range
}

// Required reports whether a value must be given.
func (p *Parameter) Required() bool { return p.Default == cty.NilVal }

// TypeString returns the type as a definition writes it.
func (p *Parameter) TypeString() string { return typeexpr.TypeString(p.Type) }

// Rules returns the error messages of the validations.
func (p *Parameter) Rules() []string {
	var out []string
	for _, v := range p.validations {
		out = append(out, v.message)
	}
	return out
}

func decodeParameter(b *hcl.Block) (*Parameter, hcl.Diagnostics) {
	p := &Parameter{Name: b.Labels[0], Type: cty.DynamicPseudoType, Nullable: true, Range: b.DefRange}
	content, diags := b.Body.Content(parameterSchema())
	if !hclsyntax.ValidIdentifier(p.Name) || p.Name == "version" {
		diags = append(diags, diagnostic.Error(b.LabelRanges[0], "Invalid parameter name",
			fmt.Sprintf("%q cannot name a parameter: use letters, digits, dashes and underscores, starting with a letter; version is taken by the sidecar block itself.", p.Name)))
	}
	if a := content.Attributes["type"]; a != nil {
		t, optional, more := typeexpr.TypeConstraintWithDefaults(a.Expr)
		diags = append(diags, more...)
		p.Type, p.optional = t, optional
	}
	into := map[string]any{"description": &p.Description, "nullable": &p.Nullable, "sensitive": &p.Sensitive}
	for _, name := range slices.Sorted(maps.Keys(into)) {
		if a := content.Attributes[name]; a != nil {
			diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, into[name])...)
		}
	}
	diags = append(diags, decodeDeprecated(content.Attributes["deprecated"], &p.Deprecated)...)
	if diags.HasErrors() {
		return nil, diags
	}
	if a := content.Attributes["default"]; a != nil {
		v, more := p.constant(a)
		diags = append(diags, more...)
		if !p.Nullable && v.IsNull() && !more.HasErrors() {
			diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid default",
				fmt.Sprintf("Parameter %q is not nullable, so its default cannot be null. Leave the default out to make the parameter required.", p.Name)))
		}
		p.Default = v
	}
	if a := content.Attributes["example"]; a != nil {
		v, more := p.constant(a)
		diags = append(diags, more...)
		p.Example = v
	}
	for _, v := range content.Blocks {
		diags = append(diags, p.decodeValidation(v)...)
	}
	return p, diags
}

// constant evaluates a default or an example.
func (p *Parameter) constant(a *hcl.Attribute) (cty.Value, hcl.Diagnostics) {
	v, diags := bounds.Value(a.Expr, nil)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	converted, err := p.convert(v)
	if err != nil {
		at, detail := a.Expr.Range(), fmt.Sprintf("The %s of parameter %q is not of type %s: %s.", a.Name, p.Name, p.TypeString(), err)
		if p.Sensitive {
			at, detail = p.Range, fmt.Sprintf("The %s of parameter %q is not of type %s.", a.Name, p.Name, p.TypeString())
		}
		return cty.DynamicVal, hcl.Diagnostics{diagnostic.Error(at, "Invalid "+a.Name, detail)}
	}
	return converted, nil
}

func (p *Parameter) decodeValidation(b *hcl.Block) hcl.Diagnostics {
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attrs("condition!", "error_message!")})
	if diags.HasErrors() {
		return diags
	}
	v := validation{condition: content.Attributes["condition"].Expr, at: b.DefRange}
	diags = append(diags, gohcl.DecodeExpression(content.Attributes["error_message"].Expr, nil, &v.message)...)
	p.validations = append(p.validations, v)
	return diags
}

// convert converts a value to the parameter's type and fills optional() attributes.
func (p *Parameter) convert(v cty.Value) (cty.Value, error) {
	if p.optional != nil && !v.IsNull() {
		v = p.optional.Apply(v)
	}
	return convert.Convert(v, p.Type)
}

func (d *Definition) parameter(name string) *Parameter {
	for _, p := range d.Parameters {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// checkDefaults reports defaults that fail the definition's own validations. It needs
// all values, so it runs only if there are no required parameters.
func (d *Definition) checkDefaults() hcl.Diagnostics {
	for _, p := range d.Parameters {
		if p.Required() {
			return nil
		}
	}
	_, diags := d.Bind(nil, d.Range)
	return diags
}

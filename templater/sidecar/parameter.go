package sidecar

import (
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Parameter is a typed input of a definition.
type Parameter struct {
	Name        string
	Description string
	// Type is the declared type, without its optional() modifiers. A parameter
	// without a type takes any value.
	Type cty.Type
	// Default is the value when none is given; NilVal means that one is required.
	Default cty.Value
	// Example is a value for documentation and checks; NilVal where there is none.
	Example cty.Value
	// Nullable says whether null may be given; a null for a parameter that is
	// not nullable means its default, as in Terraform.
	Nullable bool
	// Sensitive values are never shown but where the definition uses them.
	Sensitive bool
	Range     hcl.Range

	optional    *typeexpr.Defaults
	validations []validation
}

type validation struct {
	condition hcl.Expression
	message   string
	at        hcl.Range
}

// Required says whether a value must be given.
func (p *Parameter) Required() bool { return p.Default == cty.NilVal }

// TypeString is the type as a definition writes it.
func (p *Parameter) TypeString() string { return typeexpr.TypeString(p.Type) }

func decodeParameter(b *hcl.Block) (*Parameter, hcl.Diagnostics) {
	p := &Parameter{Name: b.Labels[0], Type: cty.DynamicPseudoType, Nullable: true, Range: b.DefRange}
	content, diags := b.Body.Content(parameterSchema())
	if !hclsyntax.ValidIdentifier(p.Name) || p.Name == "version" {
		diags = append(diags, errorAt(b.LabelRanges[0], "Invalid parameter name",
			fmt.Sprintf("%q cannot name a parameter: use letters, digits, dashes and underscores, starting with a letter; version is taken by the sidecar block itself.", p.Name)))
	}
	if a := content.Attributes["type"]; a != nil {
		t, optional, more := typeexpr.TypeConstraintWithDefaults(a.Expr)
		diags = append(diags, more...)
		p.Type, p.optional = t, optional
	}
	for name, into := range map[string]any{"description": &p.Description, "nullable": &p.Nullable, "sensitive": &p.Sensitive} {
		if a := content.Attributes[name]; a != nil {
			diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, into)...)
		}
	}
	if diags.HasErrors() {
		return nil, diags
	}
	if a := content.Attributes["default"]; a != nil {
		v, more := p.constant(a)
		diags = append(diags, more...)
		if !p.Nullable && v.IsNull() && !more.HasErrors() {
			diags = append(diags, errorAt(a.Expr.Range(), "Invalid default",
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
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	converted, err := p.convert(v)
	if err != nil {
		return cty.DynamicVal, hcl.Diagnostics{errorAt(a.Expr.Range(), "Invalid "+a.Name,
			fmt.Sprintf("The %s of parameter %q is not of type %s: %s.", a.Name, p.Name, p.TypeString(), err))}
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

// convert brings a value to the parameter's type, filling optional() attributes.
func (p *Parameter) convert(v cty.Value) (cty.Value, error) {
	if p.optional != nil && !v.IsNull() {
		v = p.optional.Apply(v)
	}
	return convert.Convert(v, p.Type)
}

// Argument is a value given for a parameter.
type Argument struct {
	// Value is the value as given. Where Text is set it is a string as written in
	// meta or after -param: for a parameter of type string, number or bool the
	// string itself, for any other type an HCL expression.
	Value cty.Value
	Text  bool
	// From names the place in messages, such as "-param tls-proxy.app_port".
	From string
	// Range is where the value stands, Safe a range that does not show the value
	// itself, for sensitive parameters. Both are zero for command-line flags.
	Range, Safe hcl.Range
}

// Bind gives each parameter its value: the argument's where there is one, else
// the default. All that is wrong is reported: an argument without a parameter, a
// required parameter without a value (at site), a wrong type, a failed validation.
func (d *Definition) Bind(args map[string]Argument, site hcl.Range) (map[string]cty.Value, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	values := map[string]cty.Value{}
	given := map[string]Argument{}
	for _, p := range d.Parameters {
		arg, ok := args[p.Name]
		if ok && arg.Value.IsNull() && !p.Nullable && !arg.Text {
			ok = false
		}
		switch {
		case ok:
			v, err := p.argument(arg)
			if err != nil {
				detail := fmt.Sprintf("Parameter %q of sidecar %q is of type %s (see %s)", p.Name, d.Name, p.TypeString(), p.Range)
				summary, mend := "Wrong type of parameter", "Give a value of that type"+arg.from()+"."
				if errors.Is(err, errUnknown) {
					summary, mend = "Value not known", "Give the job's variables with -var or -var-file."
				}
				if !p.Sensitive {
					detail += ": " + err.Error()
				}
				diags = append(diags, p.blame(arg, summary, detail+". "+mend))
				v = cty.UnknownVal(p.Type)
			}
			values[p.Name], given[p.Name] = v, arg
		case p.Required():
			if !d.misspelt(args, p.Name) {
				diags = append(diags, d.missing(p, site))
			}
			values[p.Name] = cty.UnknownVal(p.Type)
		default:
			values[p.Name] = p.Default
		}
	}
	diags = append(diags, d.unknownArguments(args)...)
	if diags.HasErrors() {
		return nil, diags
	}
	diags = d.validate(values, given, site)
	return values, diags
}

func (d *Definition) missing(p *Parameter, site hcl.Range) *hcl.Diagnostic {
	diag := errorAt(site, "Missing parameter", fmt.Sprintf(
		"Sidecar %q needs a value for parameter %q, of type %s (see %s). Set %s in its sidecar block, \"sidecar.%s.%s\" in meta, or give -param %s.%s=VALUE.",
		d.Name, p.Name, p.TypeString(), p.Range, p.Name, d.Name, p.Name, d.Name, p.Name))
	if site == (hcl.Range{}) {
		diag.Subject = nil
	}
	return diag
}

// misspelt says whether an argument without a parameter is most likely meant for
// this one; then one error is enough.
func (d *Definition) misspelt(args map[string]Argument, parameter string) bool {
	for name := range args {
		if d.parameter(name) == nil && closest(name, d.parameterNames()) == parameter {
			return true
		}
	}
	return false
}

func (d *Definition) unknownArguments(args map[string]Argument) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, name := range sortedKeys(args) {
		if d.parameter(name) != nil {
			continue
		}
		known := d.parameterNames()
		arg := args[name]
		diag := errorAt(arg.Range, "Unknown parameter", fmt.Sprintf(
			"Sidecar %q %s has no parameter %q%s.%s It has: %s.", d.Name, d.Version, name, arg.from(), didYouMean(name, known), listOr(known, "none")))
		if arg.Range == (hcl.Range{}) {
			diag.Subject = nil
		}
		diags = append(diags, diag)
	}
	return diags
}

func (d *Definition) parameter(name string) *Parameter {
	for _, p := range d.Parameters {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (a Argument) from() string {
	if a.From == "" {
		return ""
	}
	return " (given by " + a.From + ")"
}

func (p *Parameter) argument(arg Argument) (cty.Value, error) {
	v := arg.Value
	if arg.Text && !p.Type.IsPrimitiveType() && p.Type != cty.DynamicPseudoType {
		expr, diags := hclsyntax.ParseExpression([]byte(v.AsString()), "value", hcl.InitialPos)
		if diags.HasErrors() {
			return cty.NilVal, fmt.Errorf("it is not an HCL expression")
		}
		v, diags = expr.Value(nil)
		if diags.HasErrors() {
			return cty.NilVal, fmt.Errorf("it is not a constant HCL expression")
		}
	}
	if !v.IsWhollyKnown() {
		return cty.NilVal, errUnknown
	}
	return p.convert(v)
}

// blame is an error about an argument that keeps a sensitive value out of sight.
func (p *Parameter) blame(arg Argument, summary, detail string) *hcl.Diagnostic {
	at := arg.Range
	if p.Sensitive {
		at = arg.Safe
	}
	diag := errorAt(at, summary, detail)
	if at == (hcl.Range{}) {
		diag.Subject = nil
	}
	return diag
}

func (d *Definition) validate(values map[string]cty.Value, given map[string]Argument, site hcl.Range) hcl.Diagnostics {
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{"param": cty.ObjectVal(values)}, Functions: functions()}
	var diags hcl.Diagnostics
	for _, p := range d.Parameters {
		for _, v := range p.validations {
			result, more := v.condition.Value(ctx)
			if more.HasErrors() {
				diags = append(diags, errorAt(v.condition.Range(), "Invalid validation",
					fmt.Sprintf("The condition of parameter %q cannot be evaluated: %s.", p.Name, more[0].Summary)))
				continue
			}
			result, err := convert.Convert(result, cty.Bool)
			if err != nil || result.IsNull() || !result.IsKnown() {
				diags = append(diags, errorAt(v.condition.Range(), "Invalid validation",
					fmt.Sprintf("The condition of parameter %q must be true or false.", p.Name)))
				continue
			}
			if result.True() {
				continue
			}
			arg, ok := given[p.Name]
			if !ok {
				arg = Argument{Range: site, Safe: site, From: "its default"}
				if site == d.Range { // the definition itself is being checked
					arg.Range, arg.Safe = p.Range, p.Range
				}
			}
			diags = append(diags, p.blame(arg, "Invalid value of parameter", fmt.Sprintf(
				"Parameter %q of sidecar %q%s: %s (The rule is at %s.)", p.Name, d.Name, arg.from(), v.message, v.at)))
		}
	}
	return diags
}

// checkDefaults makes a definition whose own defaults fail its validations an
// error of the definition. It needs all values, so it only runs without required
// parameters.
func (d *Definition) checkDefaults() hcl.Diagnostics {
	for _, p := range d.Parameters {
		if p.Required() {
			return nil
		}
	}
	_, diags := d.Bind(nil, d.Range)
	return diags
}

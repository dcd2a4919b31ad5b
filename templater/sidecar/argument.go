package sidecar

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Argument is a value given for a parameter.
type Argument struct {
	// Value is the value as given. If Text is set it is a string from meta or -param:
	// the value itself for parameters of type string, number or bool, and an HCL
	// expression for any other type.
	Value cty.Value
	Text  bool
	// Unknown is the reason why Value is not known; nil if it is, or if no reason is given.
	Unknown *diagnostic.Unknown
	// From names the origin in messages, such as "-param tls-proxy.app_port".
	From string
	// Uses are the outputs of other sidecars that the value depends on. Known evaluates it.
	Uses []OutputRef
	// Range is the position of the value, Safe a range that does not show the value,
	// for sensitive parameters. Both are zero for command-line flags.
	Range, Safe hcl.Range

	evaluate func(sidecars cty.Value) (Argument, hcl.Diagnostics) // nil if Value is final
}

// Bind returns the value of each parameter: the argument if there is one, otherwise
// the default. It reports all errors: arguments without a parameter, required
// parameters without a value (at site), wrong types, and failed validations.
func (d *Definition) Bind(args map[string]Argument, site hcl.Range) (map[string]cty.Value, hcl.Diagnostics) {
	return new(Binder).Bind(d, args, site)
}

// A Binder binds the arguments of many groups, most of which are equal. It skips the
// validations of a definition if the values equal those that passed last. The zero
// value is ready to use. It is not safe for concurrent use.
type Binder struct {
	passed map[*Definition]cty.Value
}

// Bind is Definition.Bind with a cache.
func (b *Binder) Bind(d *Definition, args map[string]Argument, site hcl.Range) (map[string]cty.Value, hcl.Diagnostics) {
	values, given, diags := d.bind(args, site)
	if diags.HasErrors() {
		return nil, diags
	}
	all := cty.ObjectVal(values)
	if passed, ok := b.passed[d]; ok && passed.RawEquals(all) {
		return values, nil
	}
	diags = d.validate(values, given, site)
	if len(diags) == 0 {
		if b.passed == nil {
			b.passed = map[*Definition]cty.Value{}
		}
		b.passed[d] = all
	}
	return values, diags
}

// bind is Bind without the validations. It also returns the arguments that were used.
func (d *Definition) bind(args map[string]Argument, site hcl.Range) (map[string]cty.Value, map[string]Argument, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	values := map[string]cty.Value{}
	given := map[string]Argument{}
	for _, p := range d.Parameters {
		arg, ok := args[p.Name]
		ok = ok && p.Sets(arg)
		switch {
		case ok:
			v, err := p.argument(arg)
			if err != nil {
				detail := fmt.Sprintf("Parameter %q of sidecar %q is of type %s (see %s)", p.Name, d.Name, p.TypeString(), p.Range)
				summary, fix := "Wrong type of parameter", "Give a value of that type"+arg.from()+"."
				if errors.Is(err, errUnknown) && arg.Unknown != nil {
					diag := arg.Unknown.Error(fmt.Sprintf("Parameter %q of sidecar %q", p.Name, d.Name))
					if p.Sensitive && arg.Safe != (hcl.Range{}) {
						diag.Subject = arg.Safe.Ptr() // the rest of the expression may be a part of the value
					}
					diags = append(diags, diag)
					values[p.Name], given[p.Name] = cty.UnknownVal(p.Type), arg
					continue
				}
				if errors.Is(err, errUnknown) {
					summary, fix = "Unknown value", "Give the job's variables with -var or -var-file."
				}
				if !p.Sensitive {
					detail += ": " + err.Error()
				}
				diags = append(diags, p.blame(arg, summary, detail+". "+fix))
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
	return values, given, append(diags, d.unknownArguments(args)...)
}

func (d *Definition) missing(p *Parameter, site hcl.Range) *hcl.Diagnostic {
	diag := diagnostic.Error(site, "Missing parameter", fmt.Sprintf(
		"Sidecar %q needs a value for parameter %q, of type %s (see %s). Set %s in its sidecar block, \"sidecar.%s.%s\" in meta, or give -param %s.%s=VALUE.",
		d.Name, p.Name, p.TypeString(), p.Range, p.Name, d.Name, p.Name, d.Name, p.Name))
	if site == (hcl.Range{}) {
		diag.Subject = nil
	}
	return diag
}

// misspelt reports whether an argument without a parameter is probably meant for this
// one, so that a single error suffices.
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
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if d.parameter(name) != nil {
			continue
		}
		known := d.parameterNames()
		arg := args[name]
		diag := diagnostic.Error(arg.Range, "Unknown parameter", fmt.Sprintf(
			"Sidecar %q %s has no parameter %q%s.%s It has: %s.", d.Name, d.Version, name, arg.from(), didYouMean(name, known), listOr(known, "none")))
		if arg.Range == (hcl.Range{}) {
			diag.Subject = nil
		}
		diags = append(diags, diag)
	}
	return diags
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
		if bad := bounds.Expression([]byte(v.AsString()), "value"); bad != nil {
			return cty.NilVal, fmt.Errorf("it nests too deeply")
		}
		expr, diags := hclsyntax.ParseExpression([]byte(v.AsString()), "value", hcl.InitialPos)
		if diags.HasErrors() {
			return cty.NilVal, fmt.Errorf("as text it must be an HCL expression such as %s", p.expression(v.AsString()))
		}
		if bad := bounds.MeterExpression(expr); bad.HasErrors() {
			return cty.NilVal, errors.New("it holds a number that is too large or too small to write down")
		}
		v, diags = bounds.Value(expr, nil)
		if diags.HasErrors() {
			return cty.NilVal, fmt.Errorf("as text it must be a constant HCL expression such as %s", p.expression(arg.Value.AsString()))
		}
	}
	if !v.IsWhollyKnown() {
		return cty.NilVal, errUnknown
	}
	if !eachString(v, utf8.ValidString) {
		return cty.NilVal, errors.New("it holds bytes that are not UTF-8")
	}
	if err := bounds.Check(v); err != nil {
		return cty.NilVal, err
	}
	return p.convert(v)
}

// expression returns an example of how to write a value of the parameter's type as text: for a
// list, with the items of a text with commas.
func (p *Parameter) expression(text string) string {
	v := sample(p.Type)
	if (p.Type.IsListType() || p.Type.IsSetType()) && p.Type.ElementType() == cty.String {
		items := []cty.Value{}
		for _, s := range strings.Split(text, ",") {
			items = append(items, cty.StringVal(strings.TrimSpace(s)))
		}
		const most = 200
		if v = cty.ListVal(items); len(text) > most || p.Sensitive {
			v = cty.ListVal([]cty.Value{cty.StringVal("a"), cty.StringVal("b")})
		}
	}
	return Value(v, Style{})
}

// blame returns an error about an argument without showing a sensitive value.
func (p *Parameter) blame(arg Argument, summary, detail string) *hcl.Diagnostic {
	at := arg.Range
	if p.Sensitive {
		at = arg.Safe
	}
	diag := diagnostic.Error(at, summary, detail)
	if at == (hcl.Range{}) {
		diag.Subject = nil
	}
	return diag
}

// nullIn returns an error if a condition refers to an argument that is null.
func (d *Definition) nullIn(condition hcl.Expression, values map[string]cty.Value, given map[string]Argument) *hcl.Diagnostic {
	for _, t := range condition.Variables() {
		if len(t) < 2 {
			continue
		}
		p := d.parameter(AttributeName(t[1]))
		if p == nil || !values[p.Name].IsNull() {
			continue
		}
		if arg, ok := given[p.Name]; ok {
			return p.blame(arg, "Invalid value of parameter", fmt.Sprintf(
				"Parameter %q of sidecar %q%s must not be null: its validation needs a value. Give one, or leave it out for the default.", p.Name, d.Name, arg.from()))
		}
	}
	return nil
}

func (d *Definition) validate(values map[string]cty.Value, given map[string]Argument, site hcl.Range) hcl.Diagnostics {
	budget := bounds.NewBudget()
	ctx := budget.In(&hcl.EvalContext{Variables: map[string]cty.Value{"param": cty.ObjectVal(values)}, Functions: d.functions})
	var diags hcl.Diagnostics
	for _, p := range d.Parameters {
		for _, v := range p.validations {
			result, more := bounds.Value(v.condition, ctx)
			if over := budget.Exceeded(); over.HasErrors() {
				return append(diags, over...)
			}
			if null := d.nullIn(v.condition, values, given); more.HasErrors() && null != nil {
				diags = append(diags, null)
				continue
			}
			if more.HasErrors() {
				diags = append(diags, diagnostic.Error(v.condition.Range(), "Invalid validation",
					fmt.Sprintf("The condition of parameter %q cannot be evaluated: %s.", p.Name, more[0].Summary)))
				continue
			}
			result, err := convert.Convert(result, cty.Bool)
			if err != nil || result.IsNull() || !result.IsKnown() {
				diags = append(diags, diagnostic.Error(v.condition.Range(), "Invalid validation",
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

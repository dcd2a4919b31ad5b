package sidecar

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// OutputRoot begins a reference to an output: sidecar.NAME.OUTPUT.
const OutputRoot = "sidecar"

// OutputRef is a reference to an output of a sidecar in the same group.
type OutputRef struct {
	Sidecar, Output string
	Range           hcl.Range
}

func (r OutputRef) String() string { return OutputRoot + "." + r.Sidecar + "." + r.Output }

// OutputRefs returns the outputs that an expression refers to. Other references to sidecar are
// errors, except those to the given attributes of it.
func OutputRefs(expr hcl.Expression, besides ...string) ([]OutputRef, hcl.Diagnostics) {
	var refs []OutputRef
	var diags hcl.Diagnostics
	for _, t := range expr.Variables() {
		if t.RootName() != OutputRoot {
			continue
		}
		if len(t) > 1 && slices.Contains(besides, AttributeName(t[1])) {
			continue
		}
		if ref, ok := outputRef(t); ok {
			refs = append(refs, ref)
			continue
		}
		diags = append(diags, diagnostic.Error(t.SourceRange(), "Invalid reference", "Write sidecar.NAME.OUTPUT: the name of a sidecar in the same group, and of one of its outputs."))
	}
	return refs, diags
}

func outputRef(t hcl.Traversal) (OutputRef, bool) {
	if len(t) < 3 {
		return OutputRef{}, false
	}
	ref := OutputRef{AttributeName(t[1]), AttributeName(t[2]), t.SourceRange()}
	return ref, ref.Sidecar != "" && ref.Output != ""
}

// Finish makes an argument of the value of an expression, and completes its errors.
type Finish func(cty.Value, hcl.Diagnostics) (Argument, hcl.Diagnostics)

// Deferred returns arg as an argument that Known evaluates when the outputs in the expression are known.
// ok is false if the expression refers to none. besides is as for OutputRefs.
func Deferred(expr hcl.Expression, ctx *hcl.EvalContext, arg Argument, finish Finish, besides ...string) (out Argument, ok bool, _ hcl.Diagnostics) {
	refs, diags := OutputRefs(expr, besides...)
	if len(refs) == 0 {
		return arg, false, diags
	}
	arg.Value, arg.Uses = cty.DynamicVal, refs
	arg.evaluate = func(sidecars cty.Value) (Argument, hcl.Diagnostics) {
		all := sidecars.AsValueMap()
		if own, ok := ctx.Variables[OutputRoot]; ok {
			maps.Copy(all, own.AsValueMap()) // attributes hide sidecars
		}
		inner := *ctx
		inner.Variables = map[string]cty.Value{}
		maps.Copy(inner.Variables, ctx.Variables)
		inner.Variables[OutputRoot] = cty.ObjectVal(all)
		return finish(bounds.Value(expr, &inner))
	}
	return arg, true, diags
}

// textRef matches the beginning of a reference in text. $${ escapes it.
var textRef = regexp.MustCompile(`\$?\$\{\s*sidecar\.`)

// RefersToOutput reports whether a value has a text with a reference to an output, as meta and -param
// accept.
func RefersToOutput(v cty.Value) bool {
	return !eachString(v, func(s string) bool { return !hasTextRef(s) })
}

func hasTextRef(s string) bool {
	if !strings.Contains(s, OutputRoot+".") {
		return false
	}
	return slices.ContainsFunc(textRef.FindAllString(s, -1), func(m string) bool { return !strings.HasPrefix(m, "$$") })
}

// textPart is a reference in a text, or text between two.
type textPart struct {
	text string
	ref  hcl.Traversal // nil for text
}

// textParts splits a text at its references; ok is false if one of them is not complete.
func textParts(text string) (parts []textPart, ok bool) {
	at := 0
	for _, m := range textRef.FindAllStringIndex(text, -1) {
		if m[0] < at {
			return nil, false // within another reference
		}
		parts = append(parts, textPart{text: text[at:m[0]]})
		if at = m[0] + 1; strings.HasPrefix(text[m[0]:], "$$") {
			continue
		}
		inner, _, closed := strings.Cut(text[m[0]+len("${"):], "}")
		at = m[0] + len("${}") + len(inner)
		if !closed || bounds.Expression([]byte(inner), "value") != nil {
			return nil, false
		}
		t, diags := hclsyntax.ParseTraversalAbs([]byte(strings.TrimSpace(inner)), "value", hcl.InitialPos)
		if _, complete := outputRef(t); diags.HasErrors() || !complete {
			return nil, false
		}
		parts = append(parts, textPart{ref: t})
	}
	parts = append(parts, textPart{text: text[at:]})
	return slices.DeleteFunc(parts, func(p textPart) bool { return p.text == "" && p.ref == nil }), true
}

// Defer returns the argument for a parameter with the outputs that its text refers to, if it is a
// text from meta or -param.
func (d *Definition) Defer(parameter string, arg Argument) (Argument, hcl.Diagnostics) {
	p := d.parameter(parameter)
	if !arg.Text || p == nil || !arg.Value.IsKnown() || arg.Value.IsNull() || !strings.Contains(arg.Value.AsString(), OutputRoot+".") {
		return arg, nil
	}
	if p.Type.IsPrimitiveType() || p.Type == cty.DynamicPseudoType {
		return p.deferText(arg)
	}
	text := arg.Value.AsString()
	if bounds.Expression([]byte(text), "value") != nil {
		return arg, nil // Bind has the error
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), "value", hcl.InitialPos)
	if diags.HasErrors() || bounds.MeterExpression(expr).HasErrors() {
		return arg, nil // Bind has the error
	}
	ctx := bounds.NewBudget().In(&hcl.EvalContext{Variables: map[string]cty.Value{}})
	out, deferred, diags := Deferred(expr, ctx, arg, func(v cty.Value, diags hcl.Diagnostics) (Argument, hcl.Diagnostics) {
		if diags.HasErrors() {
			return arg, diags
		}
		known := arg
		known.Value, known.Text = v, false
		return known, nil
	})
	if diags.HasErrors() {
		return arg, hcl.Diagnostics{p.blame(arg, diags[0].Summary, diags[0].Detail)}
	}
	if !deferred {
		return arg, nil
	}
	for i := range out.Uses {
		out.Uses[i].Range = p.placeOf(arg)
	}
	evaluate := out.evaluate
	out.evaluate = func(sidecars cty.Value) (Argument, hcl.Diagnostics) {
		known, diags := evaluate(sidecars)
		if diags.HasErrors() {
			diags = hcl.Diagnostics{p.blame(arg, diags[0].Summary, fmt.Sprintf("In the value of parameter %q%s: %s%s", p.Name, arg.from(), diags[0].Detail, compound(out.Uses, sidecars)))}
		}
		return known, diags
	}
	return out, nil
}

// compound returns a sentence about each output that is a map or a list.
func compound(uses []OutputRef, sidecars cty.Value) string {
	var said []string
	for _, ref := range uses {
		v, err := cty.GetAttrPath(ref.Sidecar).GetAttr(ref.Output).Apply(sidecars)
		if err != nil || v.Type().IsPrimitiveType() {
			continue
		}
		kind := "a list"
		if v.Type().IsObjectType() || v.Type().IsMapType() {
			kind = "a map"
		}
		if text := fmt.Sprintf(" Output %s is %s.", ref, kind); !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	return strings.Join(said, "")
}

// placeOf returns the position of an argument, which does not show the value if it is sensitive.
func (p *Parameter) placeOf(arg Argument) hcl.Range {
	if p.Sensitive {
		return arg.Safe
	}
	return arg.Range
}

// deferText reads a text with references such as "http://${sidecar.broker.address}/".
func (p *Parameter) deferText(arg Argument) (Argument, hcl.Diagnostics) {
	parts, ok := textParts(arg.Value.AsString())
	if !ok {
		return arg, hcl.Diagnostics{p.blame(arg, "Invalid reference", fmt.Sprintf(
			"In the value of parameter %q%s a reference to an output is ${sidecar.NAME.OUTPUT}. Write $${sidecar. for text that is none; in meta of a job in HCL, which reads $${ as ${, write $$${sidecar. there.", p.Name, arg.from()))}
	}
	given := arg
	for _, part := range parts {
		if ref, ok := outputRef(part.ref); ok {
			ref.Range = p.placeOf(given)
			arg.Uses = append(arg.Uses, ref)
		}
	}
	arg.evaluate = func(sidecars cty.Value) (Argument, hcl.Diagnostics) { return p.knownText(given, parts, sidecars) }
	return arg, nil
}

// knownText puts outputs into a text. A text that is one reference keeps the output's type.
func (p *Parameter) knownText(given Argument, parts []textPart, sidecars cty.Value) (Argument, hcl.Diagnostics) {
	known := given
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{OutputRoot: sidecars}}
	var out strings.Builder
	for _, part := range parts {
		if part.ref == nil {
			out.WriteString(part.text)
			continue
		}
		v, diags := part.ref.TraverseAbs(ctx)
		if diags.HasErrors() {
			return given, hcl.Diagnostics{p.blame(given, diags[0].Summary, fmt.Sprintf("In the value of parameter %q%s: %s", p.Name, given.from(), diags[0].Detail))}
		}
		if len(parts) == 1 {
			known.Value, known.Text = v, false
			return known, nil
		}
		text, err := convert.Convert(v, cty.String)
		if err != nil || text.IsNull() {
			ref, _ := outputRef(part.ref)
			return given, hcl.Diagnostics{p.blame(given, "Wrong type of output", fmt.Sprintf("Output %s is no text, so it cannot be a part of the value of parameter %q%s.%s", ref, p.Name, given.from(), compound([]OutputRef{ref}, sidecars)))}
		}
		out.WriteString(text.AsString())
	}
	known.Value = cty.StringVal(out.String())
	return known, nil
}

// Known returns the argument with its value, given the outputs that it uses.
func (a Argument) Known(sidecars cty.Value) (Argument, hcl.Diagnostics) {
	if a.evaluate == nil {
		return a, nil
	}
	known, diags := a.evaluate(sidecars)
	known.Uses, known.evaluate = a.Uses, nil
	return known, diags
}

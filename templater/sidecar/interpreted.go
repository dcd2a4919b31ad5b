package sidecar

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// interpretation describes a place where Nomad interprets text after injection.
// Definitions may use that, but values from parameters and the job must stay plain
// text.
type interpretation struct {
	// signs are the characters that every interpreted text contains.
	signs string
	// count returns the number of interpreted parts of a text.
	count func(string) int
	// where and fix are used in messages.
	where, fix string
}

// inDriverConfig is the config of a driver: the client evaluates its strings as HCL
// templates with functions (Nomad's helper/pluginutils/hclutils.ParseHclInterface).
// Runtime references are allowed, since they only refer to values.
func inDriverConfig() interpretation {
	return interpretation{
		signs: "$%", count: computes,
		where: "in the config of a driver, where Nomad evaluates ${…} and %{…} when the task starts",
		fix:   "In the value write $${ and %%{ for ${ and %{ that the program should get; other than these it may contain only references such as ${NOMAD_TASK_DIR}.",
	}
}

// computes counts the parts of a template that are more than a reference.
func computes(s string) int {
	const broken = 1 << 20 // larger than any count
	if !strings.Contains(s, "${") && !strings.Contains(s, "%{") {
		return 0
	}
	if bounds.Template([]byte(s), "") != nil {
		return broken
	}
	expr, diags := hclsyntax.ParseTemplate([]byte(s), "", hcl.InitialPos)
	if diags.HasErrors() {
		return broken
	}
	parts := []hclsyntax.Expression{expr}
	switch t := expr.(type) {
	case *hclsyntax.TemplateExpr:
		parts = t.Parts
	case *hclsyntax.TemplateWrapExpr:
		parts = []hclsyntax.Expression{t.Wrapped}
	}
	n := 0
	for _, p := range parts {
		literal, text := p.(*hclsyntax.LiteralValueExpr)
		_, reference := p.(*hclsyntax.ScopeTraversalExpr)
		if !reference && !(text && literal.Val.Type() == cty.String) {
			n++
		}
	}
	return n
}

// templateData is the data of a template block, where Nomad interprets its delimiters.
// If the data is exactly one parameter, the parameter is meant to be a template.
func (e *evaluator) templateData(b *hclsyntax.Block, body Body) {
	data, delimiter := b.Body.Attributes["data"], body.String("left_delimiter")
	if data == nil || body.Attr("data") == nil || isReference(data.Expr) {
		return
	}
	if delimiter == "" {
		delimiter = "{{"
	}
	e.staysText("data", data.Expr, body.Attr("data").Value, interpretation{
		signs: delimiter[:1], count: func(s string) int { return strings.Count(s, delimiter) },
		where: fmt.Sprintf("in a template of Nomad, where %s begins an expression", delimiter),
		fix:   fmt.Sprintf("Leave %s out of the value.", delimiter),
	})
}

// isReference reports whether an expression is exactly a parameter or the value of an
// iterator.
func isReference(expr hcl.Expression) bool {
	if wrap, ok := expr.(*hclsyntax.TemplateWrapExpr); ok {
		expr = wrap.Wrapped
	}
	t, ok := expr.(*hclsyntax.ScopeTraversalExpr)
	return ok && t.Traversal.RootName() != "local"
}

// iterator is the iterator of a dynamic block.
type iterator struct {
	name    string
	forEach hcl.Expression
}

// from reports whether the iterator ranges over values of a parameter, or of any
// external value if parameter is "". Lists in the definition itself are trusted.
func (it iterator) from(parameter string) bool {
	for _, t := range it.forEach.Variables() {
		if parameter == "" || t.RootName() != "param" || len(t) < 2 || AttributeName(t[1]) == parameter {
			return true
		}
	}
	return false
}

// staysText reports external values that Nomad would interpret. It evaluates the
// expression again with harmless external values and compares the results.
func (e *evaluator) staysText(name string, expr hcl.Expression, v cty.Value, in interpretation) bool {
	has := in.total(v)
	if has == 0 || !e.brings(expr, has, in, "") {
		return true
	}
	who := "A value of the job for sidecar \"" + e.def.Name + "\""
	for _, p := range e.def.Parameters {
		if e.brings(expr, has, in, p.Name) {
			who = fmt.Sprintf("Parameter %q of sidecar %q", p.Name, e.def.Name)
			break
		}
	}
	e.fail(expr.Range(), "Value would be interpreted", fmt.Sprintf("%s is used in %s, %s, and contains an expression. %s", who, name, in.where, in.fix))
	return false
}

// brings reports whether making the values of one parameter harmless, or all external
// values if parameter is "", reduces the number of interpreted parts.
func (e *evaluator) brings(expr hcl.Expression, has int, in interpretation, parameter string) bool {
	tame := e.tamed(in.signs, parameter)
	v, diags := bounds.Value(expr, tame.ctx)
	return diags.HasErrors() || tame.diags.HasErrors() || in.total(v) < has
}

func (in interpretation) total(v cty.Value) int {
	n := 0
	eachString(v, func(s string) bool {
		n += in.count(s)
		return true
	})
	return n
}

// tamed returns an evaluator with external values that lack certain characters.
func (e *evaluator) tamed(signs, parameter string) *evaluator {
	out := &evaluator{def: e.def}
	ctx := *e.ctx
	ctx.Variables = map[string]cty.Value{}
	for name, v := range e.ctx.Variables {
		switch {
		case name == "param" && parameter != "":
			params := v.AsValueMap()
			params[parameter] = without(params[parameter], signs)
			v = cty.ObjectVal(params)
		case parameter == "" && name != "local":
			v = without(v, signs)
		}
		ctx.Variables[name] = v
	}
	for _, it := range e.iterators {
		ctx.Variables[it.name] = e.ctx.Variables[it.name]
		if it.from(parameter) {
			ctx.Variables[it.name] = without(e.ctx.Variables[it.name], signs)
		}
	}
	out.ctx = &ctx
	out.locals(e.def.locals)
	return out
}

// without replaces characters in all strings of a value, map keys included.
func without(v cty.Value, signs string) cty.Value {
	t := v.Type()
	switch {
	case !v.IsKnown() || v.IsNull():
	case t == cty.String:
		return cty.StringVal(harmless(v.AsString(), signs))
	case t.IsMapType() || t.IsObjectType():
		items := map[string]cty.Value{}
		for k, e := range v.AsValueMap() {
			items[harmless(k, signs)] = without(e, signs)
		}
		if t.IsObjectType() {
			return cty.ObjectVal(items)
		}
		if len(items) > 0 {
			return cty.MapVal(items)
		}
	case v.CanIterateElements() && v.LengthInt() > 0:
		var items []cty.Value
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			items = append(items, without(e, signs))
		}
		switch {
		case t.IsTupleType():
			return cty.TupleVal(items)
		case t.IsSetType():
			return cty.SetVal(items)
		}
		return cty.ListVal(items)
	}
	return v
}

func harmless(s, signs string) string {
	if !strings.ContainsAny(s, signs) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(signs, r) {
			return '_'
		}
		return r
	}, s)
}

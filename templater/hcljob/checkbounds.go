package hcljob

import (
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// checkBounds evaluates all of a text within bounds before Nomad's own parser, which has none,
// evaluates it. It leaves other errors to the parser.
func (f *File) checkBounds(text []byte) hcl.Diagnostics {
	file, diags := hclsyntax.ParseConfig(text, f.name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil
	}
	body := file.Body.(*hclsyntax.Body)
	if bad := bounds.Meter(body); bad.HasErrors() {
		return bad
	}
	s, _ := newScope(file, f.inputs)
	s.checkBounds(body, s.ctx)
	return s.budget.Exceeded()
}

func (s *scope) checkBounds(body *hclsyntax.Body, ctx *hcl.EvalContext) {
	for _, a := range body.Attributes {
		_, _ = bounds.Value(a.Expr, ctx) // an excess is recorded in the budget
	}
	for _, b := range body.Blocks {
		switch {
		case b.Type == "locals" || b.Type == "variable" || b.Type == "variables":
		case b.Type == "dynamic" && len(b.Labels) == 1:
			s.checkDynamicBounds(b, ctx)
		default:
			s.checkBounds(b.Body, ctx)
		}
	}
}

// checkDynamicBounds is checkBounds for each block that a dynamic block generates.
func (s *scope) checkDynamicBounds(b *hclsyntax.Block, ctx *hcl.EvalContext) {
	each, name := b.Body.Attributes["for_each"], b.Labels[0]
	if a := b.Body.Attributes["iterator"]; a != nil {
		name = hcl.ExprAsKeyword(a.Expr)
	}
	if each == nil {
		return
	}
	list, diags := bounds.Value(each.Expr, ctx)
	if diags.HasErrors() || list.IsNull() || !list.IsKnown() || !list.CanIterateElements() {
		return
	}
	for it := list.ElementIterator(); it.Next() && s.budget.Take(b.DefRange()); {
		key, value := it.Element()
		inner := *ctx
		inner.Variables = maps.Clone(ctx.Variables)
		inner.Variables[name] = cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})
		for _, c := range b.Body.Blocks {
			s.checkBounds(c.Body, &inner)
		}
	}
}

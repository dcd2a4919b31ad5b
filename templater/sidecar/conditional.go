package sidecar

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// switchOf returns the attribute enabled of a block if it is part of the definition
// language. In blocks with arbitrary keys, or with Nomad's own enabled, it is an
// ordinary attribute.
func (e *evaluator) switchOf(b *hclsyntax.Block) *hcl.Attribute {
	a := b.Body.Attributes["enabled"]
	if a == nil || e.foreign || hasOwnEnabled(b.Type) {
		return nil
	}
	return a.AsHCLAttribute()
}

func hasOwnEnabled(blockType string) bool {
	switch blockType {
	case "env", "meta", "config", "scaling":
		return true
	}
	return false
}

// enabled evaluates a switch. A missing one is true.
func (e *evaluator) enabled(a *hcl.Attribute) bool {
	if a == nil {
		return true
	}
	v, ok := e.value(a.Expr)
	if !ok {
		return false
	}
	v, err := convert.Convert(v, cty.Bool)
	if err != nil || v.IsNull() || !v.IsKnown() {
		e.notKnown(a.Expr, "Invalid condition", "enabled must be true or false, and known now.")
		return false
	}
	return v.True()
}

// blocks evaluates the enabled blocks and expands dynamic ones.
func (e *evaluator) blocks(in []*hclsyntax.Block) []*Block {
	var out []*Block
	for _, b := range in {
		switch {
		case b.Type == "dynamic":
			out = append(out, e.dynamic(b)...)
		case e.enabled(e.switchOf(b)):
			out = append(out, e.block(b))
		}
	}
	return out
}

// dynamic returns a block for each element, as dynamic blocks do in a job. The content
// is evaluated with the iterator's key and value.
func (e *evaluator) dynamic(b *hclsyntax.Block) []*Block {
	d, diags := readDynamic(b)
	e.diags = append(e.diags, diags...)
	if d == nil {
		return nil
	}
	list, ok := e.value(d.forEach)
	if !ok || list.IsNull() {
		return nil
	}
	if !list.IsKnown() || !list.CanIterateElements() {
		e.notKnown(d.forEach, "Invalid for_each", "for_each must be a list, set, map or object that is known now.")
		return nil
	}
	var out []*Block
	for it := list.ElementIterator(); it.Next(); {
		key, value := it.Element()
		inner := &evaluator{
			def: e.def, foreign: e.foreign, unknown: e.unknown, iterators: append(slices.Clone(e.iterators), iterator{d.iterator, d.forEach}),
			ctx: withVariable(e.ctx, d.iterator, cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})),
		}
		content := &hclsyntax.Block{Type: d.kind, Labels: inner.labels(d.labels), Body: d.content.Body, TypeRange: b.TypeRange, OpenBraceRange: b.OpenBraceRange}
		if inner.enabled(inner.switchOf(content)) {
			made := inner.block(content)
			made.Range = b.DefRange()
			out = append(out, made)
		}
		e.diags = append(e.diags, inner.diags...)
	}
	return out
}

func (e *evaluator) labels(expr hcl.Expression) []string {
	if expr == nil {
		return nil
	}
	v, ok := e.value(expr)
	v, err := convert.Convert(v, cty.List(cty.String))
	if !ok || err != nil || v.IsNull() || !v.IsWhollyKnown() {
		e.notKnown(expr, "Invalid labels", "labels must be a list of strings that is known now.")
		return nil
	}
	var out []string
	for _, l := range v.AsValueSlice() {
		out = append(out, l.AsString())
	}
	return out
}

// withVariable returns a context with one more variable.
func withVariable(ctx *hcl.EvalContext, name string, v cty.Value) *hcl.EvalContext {
	out := *ctx
	out.Variables = maps.Clone(ctx.Variables)
	out.Variables[name] = v
	return &out
}

// dynamicBlock holds the parts of a dynamic block.
type dynamicBlock struct {
	kind, iterator  string
	forEach, labels hcl.Expression // labels may be nil
	content         *hclsyntax.Block
}

func readDynamic(b *hclsyntax.Block) (*dynamicBlock, hcl.Diagnostics) {
	if len(b.Labels) != 1 {
		return nil, hcl.Diagnostics{diagnostic.Error(b.DefRange(), "Invalid dynamic block", `A dynamic block has one label, the type of the blocks that it makes: dynamic "template" { … }.`)}
	}
	d := &dynamicBlock{kind: b.Labels[0], iterator: b.Labels[0]}
	for _, a := range sortedAttributes(b.Body) {
		switch a.Name {
		case "for_each":
			d.forEach = a.Expr
		case "labels":
			d.labels = a.Expr
		case "iterator":
			d.iterator = hcl.ExprAsKeyword(a.Expr)
		default:
			return nil, hcl.Diagnostics{diagnostic.Error(a.NameRange, "Unsupported argument", fmt.Sprintf("A dynamic block has no %q, only for_each, iterator and labels; what it makes stands in content { … }.", a.Name))}
		}
	}
	for _, c := range b.Body.Blocks {
		if c.Type == "content" && d.content == nil {
			d.content = c
			continue
		}
		return nil, hcl.Diagnostics{diagnostic.Error(c.DefRange(), "Invalid dynamic block", "A dynamic block holds one content block and no other.")}
	}
	switch {
	case d.forEach == nil || d.content == nil:
		return nil, hcl.Diagnostics{diagnostic.Error(b.DefRange(), "Invalid dynamic block", "A dynamic block needs for_each and content { … }.")}
	case d.iterator == "" || isScope(d.iterator):
		return nil, hcl.Diagnostics{diagnostic.Error(b.DefRange(), "Invalid iterator", "The iterator is a name of its own, which is none of param, local, job, group and app.")}
	}
	return d, nil
}

func isScope(name string) bool {
	return slices.Contains([]string{"param", "local", "job", "group", "app"}, name)
}

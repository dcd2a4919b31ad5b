package hcljob

import (
	"fmt"
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// block is a block of the job, or one that a dynamic block generates.
type block struct {
	// Block has the type, labels and body of the generated block, and the position of the
	// dynamic block.
	*hclsyntax.Block
	// in reads the body.
	in *reader
	// text is the block of the file with this body: the content block of a dynamic block.
	text *hclsyntax.Block
	// unknown is the reason why a dynamic block cannot be expanded. The block is the dynamic
	// block itself then.
	unknown *diagnostic.Unknown
}

// kind returns the type of the block, or of those that an unexpanded dynamic block generates.
func (b block) kind() string { return madeBy(b.Block) }

// madeBy returns the type of a block, or of the blocks that a dynamic block generates.
func madeBy(b *hclsyntax.Block) string {
	if b.Type == "dynamic" && len(b.Labels) == 1 {
		return b.Labels[0]
	}
	return b.Type
}

// blocks returns the blocks of a body. Blocks that a dynamic block generates take its place, as
// in Nomad (hcl's ext/dynblock).
func (r *reader) blocks(body *hclsyntax.Body) []block {
	if out, ok := r.expanded[body]; ok {
		return out
	}
	out := make([]block, 0, len(body.Blocks))
	for _, b := range body.Blocks {
		if b.Type != "dynamic" || len(b.Labels) != 1 {
			out = append(out, block{Block: b, in: r, text: b})
			continue
		}
		generated, u := r.generate(b)
		if u != nil {
			generated = []block{{Block: b, in: r, text: b, unknown: u}}
		}
		out = append(out, generated...)
	}
	r.expanded[body] = out
	return out
}

// dynamic holds the parts of a dynamic block.
type dynamic struct {
	block    *hclsyntax.Block
	each     hclsyntax.Expression
	iterator string
	labels   []hcl.Expression
	content  *hclsyntax.Block
}

// readDynamic returns nil for an invalid block. Nomad reports its errors.
func readDynamic(b *hclsyntax.Block) *dynamic {
	d := &dynamic{block: b, iterator: b.Labels[0]}
	for name, a := range b.Body.Attributes {
		switch name {
		case "for_each":
			d.each = a.Expr
		case "iterator":
			d.iterator = hcl.ExprAsKeyword(a.Expr)
		case "labels":
			labels, diags := hcl.ExprList(a.Expr)
			if diags.HasErrors() {
				return nil
			}
			d.labels = labels
		default:
			return nil
		}
	}
	if d.each == nil || d.iterator == "" || len(b.Body.Blocks) != 1 || b.Body.Blocks[0].Type != "content" {
		return nil
	}
	d.content = b.Body.Blocks[0]
	return d
}

// generate returns the blocks that a dynamic block generates, or the reason why they are unknown.
func (r *reader) generate(b *hclsyntax.Block) ([]block, *diagnostic.Unknown) {
	d := readDynamic(b)
	if d == nil {
		return nil, unexpanded(b, &diagnostic.Unknown{WayOut: "Give it for_each and one content block."})
	}
	list, diags := bounds.Value(d.each, r.scope.ctx)
	sized := !diags.HasErrors() && list.IsKnown() && !list.IsNull() && list.CanIterateElements()
	if !sized || (list.Type().IsSetType() && !list.IsWhollyKnown()) {
		return nil, unexpanded(b, r.scope.reason(d.each, diags))
	}
	out := []block{}
	for it := list.ElementIterator(); it.Next() && r.scope.budget.Take(b.DefRange()); {
		key, value := it.Element()
		one, u := r.instance(d, key, value)
		if u != nil {
			return nil, unexpanded(b, u)
		}
		if list.LengthInt() > 1 && one.in.repeated == nil {
			one.in.repeated = b
		}
		out = append(out, one)
	}
	return out, nil
}

// instance returns the block for one element of for_each.
func (r *reader) instance(d *dynamic, key, value cty.Value) (block, *diagnostic.Unknown) {
	in := r.within(d, key, value)
	b := &hclsyntax.Block{
		Type: d.block.Labels[0], Body: d.content.Body, TypeRange: d.block.TypeRange, LabelRanges: d.block.LabelRanges,
		OpenBraceRange: d.content.OpenBraceRange, CloseBraceRange: d.content.CloseBraceRange,
	}
	for _, expr := range d.labels {
		v, u := in.scope.read(expr)
		if u != nil {
			return block{}, u
		}
		v, err := convert.Convert(v, cty.String)
		if err != nil || v.IsNull() {
			return block{}, in.scope.reason(expr, nil)
		}
		b.Labels = append(b.Labels, v.AsString())
	}
	return block{Block: b, in: in, text: d.content}, nil
}

// within returns a reader with the iterator of a dynamic block.
func (r *reader) within(d *dynamic, key, value cty.Value) *reader {
	ctx, scope := *r.scope.ctx, *r.scope
	ctx.Variables = maps.Clone(ctx.Variables)
	ctx.Variables[d.iterator] = cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})
	scope.ctx, scope.iterators = &ctx, map[string]hcl.Expression{d.iterator: d.each}
	maps.Copy(scope.iterators, r.scope.iterators)
	scope.iterators[d.iterator] = d.each
	return &reader{scope: &scope, diags: r.diags, repeated: r.repeated, expanded: map[*hclsyntax.Body][]block{}}
}

// sample returns a block that a dynamic block of unknown extent may generate; nil if it is
// invalid.
func (r *reader) sample(b *hclsyntax.Block) *block {
	d := readDynamic(b)
	if d == nil {
		return nil
	}
	d.labels = nil
	one, _ := r.instance(d, cty.DynamicVal, cty.DynamicVal)
	one.Labels = []string{fmt.Sprintf("dynamic %q", b.Labels[0])}
	return &one
}

// unexpanded returns the reason why the blocks of a dynamic block are unknown.
func unexpanded(b *hclsyntax.Block, u *diagnostic.Unknown) *diagnostic.Unknown {
	out := &diagnostic.Unknown{Expr: fmt.Sprintf("dynamic %q", madeBy(b)), WayOut: u.WayOut, Range: b.DefRange()}
	if u.Expr != "" {
		out.Expr += " with " + u.Expr
	}
	return out
}

// obstacle returns the reason why a block cannot be edited: it is an unexpanded dynamic block,
// or its text stands for several blocks.
func (b block) obstacle() job.Obstacle {
	if b.unknown != nil {
		return job.Obstacle{What: b.unknown.Expr, WayOut: b.unknown.WayOut, Unknown: b.unknown, Range: b.DefRange()}
	}
	by := b.in.repeated
	return job.Obstacle{What: fmt.Sprintf("dynamic %q, whose content stands for several blocks", madeBy(by)), WayOut: outJSON, Range: by.DefRange()}
}

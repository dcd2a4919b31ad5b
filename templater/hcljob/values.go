package hcljob

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// text reads a string attribute; what is absent or not known leaves into alone.
func (r *reader) text(body *hclsyntax.Body, name string, into *string) {
	a := body.Attributes[name]
	if a == nil {
		return
	}
	if t := textOf(r.scope.value(a.Expr), a.SrcRange); !t.Unknown {
		*into = t.Value
	}
}

func (r *reader) number(body *hclsyntax.Body, name string) int {
	a := body.Attributes[name]
	if a == nil {
		return 0
	}
	v, err := convert.Convert(r.scope.value(a.Expr), cty.Number)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return 0
	}
	n, _ := v.AsBigFloat().Int64()
	return int(n)
}

// texts reads a map of strings that may be an attribute or a block, as Nomad has
// it for env and meta (jobspec2.decodeAsAttribute).
func (r *reader) texts(body *hclsyntax.Body, name string) map[string]job.Text {
	out := map[string]job.Text{}
	if a := body.Attributes[name]; a != nil {
		v := r.scope.value(a.Expr)
		if v.IsKnown() && !v.IsNull() && (v.Type().IsObjectType() || v.Type().IsMapType()) {
			at := itemRanges(a.Expr)
			for k, e := range v.AsValueMap() {
				where, ok := at[k]
				if !ok {
					where = a.SrcRange
				}
				out[k] = textOf(e, where)
			}
		}
	}
	for _, b := range body.Blocks {
		if b.Type == name {
			for k, a := range b.Body.Attributes {
				out[k] = textOf(r.scope.value(a.Expr), a.SrcRange)
			}
		}
	}
	return out
}

// isEmpty says whether a block or attribute is there that holds nothing.
func (r *reader) isEmpty(body *hclsyntax.Body, name string) bool {
	if a := body.Attributes[name]; a != nil {
		v := r.scope.value(a.Expr)
		return v.IsKnown() && !v.IsNull() && v.CanIterateElements() && v.LengthInt() == 0
	}
	for _, b := range body.Blocks {
		if b.Type == name {
			return len(b.Body.Attributes)+len(b.Body.Blocks) == 0
		}
	}
	return false
}

// itemRanges finds where the items of an object expression stand.
func itemRanges(expr hcl.Expression) map[string]hcl.Range {
	out := map[string]hcl.Range{}
	obj, ok := expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return out
	}
	for _, it := range obj.Items {
		if k, diags := it.KeyExpr.Value(nil); !diags.HasErrors() && k.IsKnown() && !k.IsNull() && k.Type() == cty.String {
			out[k.AsString()] = hcl.RangeBetween(it.KeyExpr.Range(), it.ValueExpr.Range())
		}
	}
	return out
}

func textOf(v cty.Value, at hcl.Range) job.Text {
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() || !s.IsKnown() {
		return job.Text{Unknown: true, Range: at}
	}
	return job.Text{Value: s.AsString(), Range: at}
}

// block evaluates a whole block; attributes that are not known are left out.
func (r *reader) block(b *hclsyntax.Block) *sidecar.Block {
	out := &sidecar.Block{Type: b.Type, Labels: slices.Clone(b.Labels), Range: b.DefRange()}
	names := make([]string, 0, len(b.Body.Attributes))
	for name := range b.Body.Attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		a := b.Body.Attributes[name]
		if v := r.scope.value(a.Expr); v.IsWhollyKnown() && !v.IsNull() {
			out.Body = append(out.Body, &sidecar.Attr{Name: name, Value: v, Range: a.SrcRange})
		}
	}
	for _, c := range b.Body.Blocks {
		out.Body = append(out.Body, r.block(c))
	}
	return out
}

package hcljob

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// text reads a string attribute. If it is absent, null or empty, into keeps its default, as in
// Nomad.
func (r *reader) text(body *hclsyntax.Body, name string, into *job.Text) {
	a := body.Attributes[name]
	if a == nil {
		return
	}
	v, u := r.scope.read(a.Expr)
	if u == nil && v.IsNull() {
		return
	}
	if t := textOf(v, u, a.SrcRange); t.Value != "" || t.Unknown != nil {
		*into = t
	}
}

// number reads a whole number, or 0 if it is absent or null.
func (r *reader) number(body *hclsyntax.Body, name string) (int, *diagnostic.Unknown) {
	a := body.Attributes[name]
	if a == nil {
		return 0, nil
	}
	v, u := r.scope.read(a.Expr)
	if u != nil || v.IsNull() {
		return 0, u
	}
	v, err := convert.Convert(v, cty.Number)
	if err != nil {
		return 0, &diagnostic.Unknown{Expr: name, WayOut: "Write a number.", Invalid: true, Range: a.SrcRange}
	}
	n, _ := v.AsBigFloat().Int64()
	return int(n), nil
}

// texts reads a map of strings that may be an attribute or a block, as Nomad does for env and
// meta (jobspec2.decodeAsAttribute). more is set if there may be other items.
func (r *reader) texts(body *hclsyntax.Body, name string) (out map[string]job.Text, more *diagnostic.Unknown) {
	out = map[string]job.Text{}
	if a := body.Attributes[name]; a != nil {
		m := r.items(a.Expr, a.SrcRange)
		out, more = m.known, m.more
	}
	for _, b := range r.blocks(body) {
		if b.kind() != name {
			continue
		}
		if b.unknown != nil {
			more = b.unknown
			continue
		}
		for k, a := range b.Body.Attributes {
			v, u := b.in.scope.read(a.Expr)
			out[k] = textOf(v, u, a.SrcRange)
		}
		for _, c := range b.Body.Blocks {
			more = &diagnostic.Unknown{Expr: fmt.Sprintf("a block in %s", name), WayOut: "Write name = value.", Range: c.DefRange()}
		}
	}
	return out, more
}

// items is a map of strings, known in part or completely.
type items struct {
	known map[string]job.Text // values may be unknown
	more  *diagnostic.Unknown // there may be others
}

// put adds the items of another map, which take precedence.
func (m *items) put(o items) {
	if o.more != nil {
		for k := range m.known {
			m.known[k] = job.Text{Unknown: o.more, Range: m.known[k].Range}
		}
		m.more = o.more
	}
	maps.Copy(m.known, o.known)
}

// items reads an expression as a map of strings, item by item if it is not known as a whole.
func (r *reader) items(expr hclsyntax.Expression, at hcl.Range) items {
	v, u := r.scope.read(expr)
	out := items{known: map[string]job.Text{}}
	if u == nil && v.IsNull() {
		return out
	}
	if v.IsKnown() {
		if !v.Type().IsObjectType() && !v.Type().IsMapType() {
			out.more = &diagnostic.Unknown{Expr: "a value that is not a map", WayOut: "Write a map of strings.", Invalid: true, Range: at}
			return out
		}
		places := itemsOf(expr)
		for k, e := range v.AsValueMap() {
			where, why := at, u
			if it, ok := places[k]; ok {
				if where = hcl.RangeBetween(it.KeyExpr.Range(), it.ValueExpr.Range()); !e.IsWhollyKnown() {
					why = r.scope.reason(it.ValueExpr, nil)
				}
			}
			out.known[k] = textOf(e, why, where)
		}
		return out
	}
	switch expr := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return r.items(expr.Expression, at)
	case *hclsyntax.ObjectConsExpr:
		for _, it := range expr.Items {
			out.put(r.item(it))
		}
		return out
	case *hclsyntax.FunctionCallExpr:
		if expr.Name == "merge" && !expr.ExpandFinal {
			for _, arg := range expr.Args {
				out.put(r.items(arg, at))
			}
			return out
		}
	case *hclsyntax.ScopeTraversalExpr:
		if t := expr.Traversal; t.RootName() == "local" && len(t) == 2 && r.scope.locals[sidecar.AttributeName(t[1])] != nil {
			return r.items(r.scope.locals[sidecar.AttributeName(t[1])].Expr, at)
		}
	}
	out.more = u
	return out
}

// item reads one item of an object expression.
func (r *reader) item(it hclsyntax.ObjectConsItem) items {
	k, u := r.scope.read(it.KeyExpr)
	k, err := convert.Convert(k, cty.String)
	if u == nil && (err != nil || k.IsNull()) {
		u = r.scope.reason(it.KeyExpr, nil)
	}
	if u != nil {
		return items{more: u}
	}
	v, u := r.scope.read(it.ValueExpr)
	at := hcl.RangeBetween(it.KeyExpr.Range(), it.ValueExpr.Range())
	return items{known: map[string]job.Text{k.AsString(): textOf(v, u, at)}}
}

// isEmpty reports whether a block or attribute exists and is empty.
func (r *reader) isEmpty(body *hclsyntax.Body, name string) bool {
	if a := body.Attributes[name]; a != nil {
		v, _ := r.scope.read(a.Expr)
		return v.IsKnown() && !v.IsNull() && v.CanIterateElements() && v.LengthInt() == 0
	}
	for _, b := range r.blocks(body) {
		if b.Type == name {
			return len(b.Body.Attributes)+len(b.Body.Blocks) == 0
		}
	}
	return false
}

// itemsOf returns the items of an object expression with constant keys.
func itemsOf(expr hcl.Expression) map[string]hclsyntax.ObjectConsItem {
	out := map[string]hclsyntax.ObjectConsItem{}
	obj, ok := expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return out
	}
	for _, it := range obj.Items {
		if k, diags := it.KeyExpr.Value(nil); !diags.HasErrors() && k.IsKnown() && !k.IsNull() && k.Type() == cty.String {
			out[k.AsString()] = it
		}
	}
	return out
}

// textOf converts a value to text; u is the reason if it is unknown, else nil.
func textOf(v cty.Value, u *diagnostic.Unknown, at hcl.Range) job.Text {
	s, err := convert.Convert(v, cty.String)
	if err == nil && s.IsKnown() && !s.IsNull() {
		return job.Text{Value: s.AsString(), Range: at}
	}
	if u == nil {
		u = &diagnostic.Unknown{Expr: "a value that is not a string", WayOut: "Write a string.", Invalid: true, Range: at}
	}
	return job.Text{Unknown: u, Range: at}
}

// block evaluates a whole block, without attributes of unknown value.
func (r *reader) block(b *hclsyntax.Block) *sidecar.Block {
	out := &sidecar.Block{Type: b.Type, Labels: slices.Clone(b.Labels), Range: b.DefRange()}
	names := make([]string, 0, len(b.Body.Attributes))
	for name := range b.Body.Attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		a := b.Body.Attributes[name]
		if v, u := r.scope.read(a.Expr); u == nil && !v.IsNull() {
			out.Body = append(out.Body, &sidecar.Attr{Name: name, Value: v, Range: a.SrcRange})
		}
	}
	for _, c := range r.blocks(b.Body) {
		if c.unknown == nil {
			out.Body = append(out.Body, c.in.block(c.Block))
		}
	}
	return out
}

package hcljob

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// literals finds references to outputs of sidecars that are mere text: only sidecar blocks are evaluated
// with outputs, not local values, variables and the rest of a job.
type literals struct {
	// in caches where an expression has such a reference, vars the variables with one.
	in   map[hcl.Expression]*hcl.Range
	vars map[string]bool
}

func newLiterals() *literals {
	return &literals{in: map[hcl.Expression]*hcl.Range{}, vars: map[string]bool{}}
}

// literal returns the reference of an expression by which it depends on the text of a reference to an
// output, such as local.db, and the position of that text. ok is false if there is none.
func (s *scope) literal(expr hcl.Expression) (by hcl.Traversal, at hcl.Range, ok bool) {
	for _, t := range expr.Variables() {
		if found := s.literalBehind(t); found != nil {
			return t, *found, true
		}
	}
	return nil, hcl.Range{}, false
}

// literalBehind returns the position of a reference to an output in the value of a reference.
func (s *scope) literalBehind(t hcl.Traversal) *hcl.Range {
	root, second := t.RootName(), ""
	if len(t) > 1 {
		second = sidecar.AttributeName(t[1])
	}
	if each := s.iterators[root]; each != nil && s.ofIterator(t) {
		return s.literalWithin(each)
	}
	switch root {
	case "local":
		if a := s.locals[second]; a != nil {
			return s.literalWithin(a.Expr)
		}
		for _, name := range slices.Sorted(maps.Keys(s.locals)) {
			if found := s.literalWithin(s.locals[name].Expr); second == "" && found != nil {
				return found
			}
		}
	case "var":
		v := s.ctx.Variables["var"]
		if _, known := s.literals.vars[second]; !known && v.Type().HasAttribute(second) {
			s.literals.vars[second] = sidecar.RefersToOutput(v.GetAttr(second))
		}
		if !s.literals.vars[second] {
			return nil
		}
		if v, diags := t.TraverseAbs(s.ctx); diags.HasErrors() || sidecar.RefersToOutput(v) {
			return t.SourceRange().Ptr()
		}
	}
	return nil
}

// literalWithin returns the position of a reference to an output in an expression that is evaluated without
// outputs, or in a value to which it refers.
func (s *scope) literalWithin(expr hcl.Expression) *hcl.Range {
	if found, done := s.literals.in[expr]; done {
		return found
	}
	s.literals.in[expr] = nil // for cycles
	for _, t := range expr.Variables() {
		found := s.literalBehind(t)
		if t.RootName() == sidecar.OutputRoot && !s.ofIterator(t) {
			found = t.SourceRange().Ptr()
		}
		if found != nil {
			s.literals.in[expr] = found
			break
		}
	}
	return s.literals.in[expr]
}

// ofIterator reports whether a reference is to the iterator of a dynamic block. In dynamic "sidecar"
// it is called sidecar too.
func (s *scope) ofIterator(t hcl.Traversal) bool {
	if s.iterators[t.RootName()] == nil {
		return false
	}
	return t.RootName() != sidecar.OutputRoot || len(t) > 1 && slices.Contains(iteratorFields(), sidecar.AttributeName(t[1]))
}

// iteratorFields are the attributes of the iterator of a dynamic block.
func iteratorFields() []string { return []string{"key", "value"} }

// noLiteral refuses a value in a sidecar block that depends on the text of a reference to an output.
func (r *reader) noLiteral(block string, a *hclsyntax.Attribute) {
	by, at, found := r.scope.literal(a.Expr)
	if !found {
		return
	}
	name := referenceName(by)
	r.fail(diagnostic.Error(by.SourceRange(), "Output outside of a sidecar block", fmt.Sprintf(
		"Parameter %q of sidecar %q uses %s, in which a reference to an output of a sidecar is text (%s). Write sidecar.NAME.OUTPUT in the sidecar block itself, instead of %s.",
		a.Name, block, name, at, name)))
}

// referenceName returns the text of a reference up to its first index.
func referenceName(t hcl.Traversal) string {
	var out strings.Builder
	out.WriteString(t.RootName())
	for _, step := range t[1:] {
		name := sidecar.AttributeName(step)
		if name == "" {
			break
		}
		out.WriteString("." + name)
	}
	return out.String()
}

// textRefs returns references to outputs in a body and the blocks in it, except in sidecar blocks and in
// the values of parameters in meta.
func (s *scope) textRefs(to []job.TextRef, body *hclsyntax.Body) []job.TextRef {
	add := func(name string, expr hcl.Expression) {
		at := s.literalWithin(expr)
		if at != nil && len(to) < job.MaxTextRefs {
			to = append(to, job.TextRef{Name: name, Range: *at})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		a := body.Attributes[name]
		if a.Name != "meta" {
			add(a.Name, a.Expr)
			continue
		}
		items := itemsOf(a.Expr)
		for _, key := range slices.Sorted(maps.Keys(items)) {
			if !strings.HasPrefix(key, job.MetaPrefix) {
				add(key, items[key].ValueExpr)
			}
		}
	}
	for _, b := range body.Blocks {
		if madeBy(b) == "sidecar" || b.Type == "dynamic" && iteratorOf(b) == sidecar.OutputRoot {
			continue
		}
		to = s.textRefs(to, b.Body)
	}
	return to
}

func iteratorOf(b *hclsyntax.Block) string {
	if a := b.Body.Attributes["iterator"]; a != nil {
		return hcl.ExprAsKeyword(a.Expr)
	}
	return madeBy(b)
}

package sidecar

import "github.com/hashicorp/hcl/v2"

// sensitive returns a sensitive parameter that an expression depends on, "" if there is
// none. Seen are the expressions already visited.
func (e *evaluator) sensitive(expr hcl.Expression, seen map[hcl.Expression]bool) string {
	if seen[expr] {
		return ""
	}
	seen[expr] = true
	for _, t := range expr.Variables() {
		for _, p := range e.def.Parameters {
			if p.Sensitive && t.RootName() == "param" && (len(t) < 2 || AttributeName(t[1]) == p.Name) {
				return p.Name
			}
		}
		for _, source := range e.sources(t) {
			if p := e.sensitive(source, seen); p != "" {
				return p
			}
		}
	}
	return ""
}

// sources returns the expressions behind a reference to a local value or an iterator.
func (e *evaluator) sources(t hcl.Traversal) []hcl.Expression {
	var out []hcl.Expression
	if a := e.def.local(localOf(t)); a != nil {
		out = append(out, a.Expr)
	}
	for _, it := range e.iterators {
		if it.name == t.RootName() {
			out = append(out, it.forEach)
		}
	}
	return out
}

package sidecar

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// sensitive returns what sensitive value an expression depends on: a parameter of the definition or an
// output of a sidecar; "" if there is none. Seen are the expressions already visited.
func (e *evaluator) sensitive(expr hcl.Expression, seen map[hcl.Expression]bool) string {
	if seen[expr] {
		return ""
	}
	seen[expr] = true
	for _, t := range expr.Variables() {
		for _, p := range e.def.Parameters {
			if (p.Sensitive || e.tainted[p.Name]) && t.RootName() == "param" && (len(t) < 2 || AttributeName(t[1]) == p.Name) {
				return fmt.Sprintf("parameter %q of sidecar %q", p.Name, e.def.Name)
			}
		}
		if ref, ok := outputRef(t); ok && t.RootName() == OutputRoot && e.outputs[ref.Sidecar][ref.Output].Sensitive {
			return "output " + ref.String()
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

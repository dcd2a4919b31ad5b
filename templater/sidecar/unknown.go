package sidecar

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// notKnown reports an invalid value of an expression. If the expression depends on an
// unknown value of the job, the error is about that one.
func (e *evaluator) notKnown(expr hcl.Expression, summary, detail string) {
	u := e.unknownIn(expr, map[hcl.Expression]bool{})
	if u == nil {
		e.fail(expr.Range(), summary, detail)
		return
	}
	e.diags = append(e.diags, u.Error(fmt.Sprintf("Sidecar %q (%s)", e.def.Name, expr.Range())))
}

// unknownIn finds a value of the job that is not known and that an expression refers to.
func (e *evaluator) unknownIn(expr hcl.Expression, seen map[hcl.Expression]bool) *diagnostic.Unknown {
	if seen[expr] {
		return nil
	}
	seen[expr] = true
	if u := UnknownIn(expr, e.unknown); u != nil {
		return u
	}
	for _, t := range expr.Variables() {
		for _, source := range e.sources(t) {
			if u := e.unknownIn(source, seen); u != nil {
				return u
			}
		}
	}
	return nil
}

// UnknownIn finds a value that is not known and that an expression refers to, by reasons
// as a Scope has them; nil if there is none.
func UnknownIn(expr hcl.Expression, unknown map[string]*diagnostic.Unknown) *diagnostic.Unknown {
	for _, t := range expr.Variables() {
		name := t.RootName()
		for _, step := range t[1:] {
			name += "." + AttributeName(step)
		}
		for _, key := range slices.Sorted(maps.Keys(unknown)) {
			if key == name || strings.HasPrefix(key, name+".") || strings.HasPrefix(name, key+".") {
				return unknown[key]
			}
		}
	}
	return nil
}

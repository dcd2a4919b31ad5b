package sidecar

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// locals evaluates the local values in dependency order. checkLocals has rejected
// cycles.
func (e *evaluator) locals(attributes []*hclsyntax.Attribute) {
	known := map[string]cty.Value{}
	var evaluate func(a *hclsyntax.Attribute)
	evaluate = func(a *hclsyntax.Attribute) {
		if _, done := known[a.Name]; done {
			return
		}
		// Copying only the dependencies avoids quadratic cost.
		needs := map[string]cty.Value{}
		for _, name := range localsIn(a.Expr) {
			if next := e.def.local(name); next != nil {
				evaluate(next)
				needs[name] = known[name]
			}
		}
		e.ctx.Variables["local"] = cty.ObjectVal(needs)
		v, ok := e.value(a.Expr)
		if !ok {
			v = cty.DynamicVal
		}
		known[a.Name] = v
	}
	for _, a := range attributes {
		evaluate(a)
	}
	e.ctx.Variables["local"] = cty.ObjectVal(known)
}

// localsIn returns the names of the local values that an expression refers to.
func localsIn(expr hcl.Expression) []string {
	var out []string
	for _, t := range expr.Variables() {
		if name := localOf(t); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// localOf returns the name of the local value of a reference, "" for other references.
func localOf(t hcl.Traversal) string {
	if t.RootName() != "local" || len(t) < 2 {
		return ""
	}
	return AttributeName(t[1])
}

// AttributeName returns the attribute that a step of a traversal selects, also by an index with a
// string; "" for any other step.
func AttributeName(step hcl.Traverser) string {
	switch step := step.(type) {
	case hcl.TraverseAttr:
		return step.Name
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String {
			return step.Key.AsString()
		}
	}
	return ""
}

// local returns the first local value with a name, nil if there is none.
func (d *Definition) local(name string) *hclsyntax.Attribute { return d.localNamed[name] }

// checkLocals finds duplicate and cyclic local values.
func (d *Definition) checkLocals() hcl.Diagnostics {
	var diags hcl.Diagnostics
	done, doing := map[string]bool{}, map[string]bool{}
	var visit func(a *hclsyntax.Attribute) bool
	visit = func(a *hclsyntax.Attribute) bool {
		if done[a.Name] {
			return true
		}
		if doing[a.Name] {
			diags = append(diags, diagnostic.Error(a.SrcRange, "Circular local value", fmt.Sprintf("local.%s refers to itself. Break the cycle.", a.Name)))
			return false
		}
		doing[a.Name] = true
		for _, name := range localsIn(a.Expr) {
			if next := d.local(name); next != nil && !visit(next) {
				return false
			}
		}
		done[a.Name] = true
		return true
	}
	for _, a := range d.locals {
		if b := d.local(a.Name); b != a {
			diags = append(diags, diagnostic.Error(a.NameRange, "Duplicate local value", fmt.Sprintf("local.%s was already defined at %s. Remove or rename one of them.", a.Name, b.NameRange)))
		}
		if !visit(a) {
			return diags
		}
	}
	return diags
}

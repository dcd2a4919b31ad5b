package hcljob

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// locals evaluates the local values of a job in the order of their references.
type locals struct {
	*scope
	found   map[string]*hclsyntax.Attribute
	known   map[string]cty.Value
	pending []string // being evaluated, in order
	diags   hcl.Diagnostics
}

// evaluateLocals evaluates local values. A value that cannot be evaluated is unknown: it depends
// on a variable without a value, or is an error that Nomad reports. A value that refers to
// itself is an error.
func (s *scope) evaluateLocals(body *hclsyntax.Body) hcl.Diagnostics {
	l := &locals{scope: s, found: map[string]*hclsyntax.Attribute{}, known: map[string]cty.Value{}}
	for _, b := range body.Blocks {
		if b.Type == "locals" {
			for name, a := range b.Body.Attributes {
				l.found[name] = a
			}
		}
	}
	s.locals = l.found
	for _, name := range slices.Sorted(maps.Keys(l.found)) {
		l.evaluate(name)
	}
	s.ctx.Variables["local"] = cty.ObjectVal(l.known)
	return l.diags
}

func (l *locals) evaluate(name string) {
	a := l.found[name]
	if _, done := l.known[name]; done || a == nil {
		return
	}
	if i := slices.Index(l.pending, name); i >= 0 {
		circle := "local." + strings.Join(append(slices.Clone(l.pending[i:]), name), " → local.")
		if len(l.pending)-i > 8 {
			circle = fmt.Sprintf("local.%s → … → local.%s", name, name)
		}
		l.diags = append(l.diags, diagnostic.Error(a.SrcRange, "Circular local value", fmt.Sprintf("local.%s refers to itself: %s. Break the cycle.", name, circle)))
		l.known[name] = cty.DynamicVal
		return
	}
	if len(l.pending) == bounds.Levels {
		l.diags = append(l.diags, diagnostic.Error(a.SrcRange, "Chain of local values too long", fmt.Sprintf("local.%s refers to a chain of %d others. Shorten the chain.", name, bounds.Levels)))
		l.known[name] = cty.DynamicVal
		return
	}
	l.pending = append(l.pending, name)
	needs := map[string]cty.Value{}
	for _, other := range l.needs(a.Expr) {
		l.evaluate(other)
		if v, ok := l.known[other]; ok {
			needs[other] = v
		}
	}
	l.pending = l.pending[:len(l.pending)-1]
	if _, done := l.known[name]; done {
		return // part of a cycle
	}
	// Provide only the referenced values; providing all would take quadratic time.
	l.ctx.Variables["local"] = cty.ObjectVal(needs)
	v, diags := bounds.Value(a.Expr, l.ctx)
	if diags.HasErrors() {
		v = cty.DynamicVal
	}
	l.known[name] = v
}

// needs returns the local values that an expression refers to: all others if it uses local as a
// whole.
func (l *locals) needs(expr hcl.Expression) []string {
	var out []string
	for _, t := range expr.Variables() {
		if t.RootName() != "local" {
			continue
		}
		if len(t) > 1 {
			if name := sidecar.AttributeName(t[1]); name != "" {
				out = append(out, name)
				continue
			}
		}
		all := slices.Sorted(maps.Keys(l.found))
		return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(l.pending, name) })
	}
	return out
}

// explain replaces HCL's error about a missing attribute by one about a missing variable or
// local.
func (s *scope) explain(expr hcl.Expression, diags hcl.Diagnostics) hcl.Diagnostics {
	if !diags.HasErrors() {
		return diags
	}
	if s.noFS {
		hintFS(diags)
	}
	for _, t := range expr.Variables() {
		kinds := map[string]string{"var": "variable", "local": "local value"}
		kind, ours := kinds[t.RootName()]
		if !ours || len(t) < 2 {
			continue
		}
		step, ok := t[1].(hcl.TraverseAttr)
		if !ok || s.ctx.Variables[t.RootName()].Type().HasAttribute(step.Name) {
			continue
		}
		return hcl.Diagnostics{diagnostic.Error(t.SourceRange(), "Undefined "+kind, fmt.Sprintf("The job has no %s %q. Define it, or correct the name.", kind, step.Name))}
	}
	return diags
}

// hintFS mentions -allow-fs if a function failed without it; it matches the text of
// jobspec2.guardFS.
func hintFS(diags hcl.Diagnostics) {
	for _, d := range diags {
		if strings.Contains(d.Detail, "filesystem function") {
			d.Detail = strings.TrimSuffix(d.Detail, ".") + ". Functions that read files are disabled; -allow-fs lets this job read every file that you can read."
		}
	}
}

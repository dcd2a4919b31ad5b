package hcljob

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// fileFunctions returns Nomad's functions that read the file system, with the types of their
// results.
func fileFunctions() map[string]cty.Type {
	return map[string]cty.Type{
		"abspath": cty.String, "basename": cty.String, "dirname": cty.String, "file": cty.String, "filebase64": cty.String,
		"fileexists": cty.Bool, "fileset": cty.Set(cty.String), "pathexpand": cty.String,
	}
}

// isRandom reports whether each call of a function returns another result. Nomad calls it again
// when it parses the job.
func isRandom(name string) bool { return name == "uuidv4" || name == "bcrypt" }

// careful returns functions that keep unknown values unknown: without the file system, the
// result of a function that needs it is unknown instead of an error, which try() would replace
// by another value. The same holds for functions of a newer Nomad. Random results are unknown
// too.
func careful(functions map[string]function.Function, noFS bool) map[string]function.Function {
	for name, f := range functions {
		if isRandom(name) {
			functions[name] = randomResult(f)
		}
	}
	if noFS {
		for name, result := range fileFunctions() {
			if f, ok := functions[name]; ok {
				functions[name] = unknownResult(f, result)
			}
		}
	}
	for _, name := range []string{"try", "can"} {
		if f, ok := functions[name]; ok {
			functions[name] = withKnownCalls(f, functions)
		}
	}
	return functions
}

func unknownResult(f function.Function, result cty.Type) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(), Type: function.StaticReturnType(result),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) { return cty.UnknownVal(result), nil },
	})
}

// randomResult makes the result of a function unknown. The type callback of the function checks the
// bounds of its arguments.
func randomResult(f function.Function) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(), Type: f.ReturnTypeForValues,
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) { return cty.UnknownVal(cty.String), nil },
	})
}

// withKnownCalls wraps try or can: the result is unknown if an expression calls a function that
// this program does not have.
func withKnownCalls(f function.Function, functions map[string]function.Function) function.Function {
	unknown := func(args []cty.Value) bool {
		return slices.ContainsFunc(args, func(v cty.Value) bool {
			return len(unknownCalls(customdecode.ExpressionClosureFromVal(v).Expression, functions)) > 0
		})
	}
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if unknown(args) {
				return cty.DynamicPseudoType, nil
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if unknown(args) {
				return cty.DynamicVal, nil
			}
			return f.Call(args)
		},
	})
}

// calls returns the names of the functions that an expression calls, except type constructors in
// the arguments of convert().
func calls(expr hcl.Expression) []string {
	node, ok := expr.(hclsyntax.Node)
	if !ok {
		return nil
	}
	var names []string
	var types []hcl.Range
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics { // the callback returns no diagnostics
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok || slices.ContainsFunc(types, func(r hcl.Range) bool { return r.ContainsPos(call.NameRange.Start) }) {
			return nil
		}
		if call.Name == "convert" && len(call.Args) == 2 {
			types = append(types, call.Args[1].Range())
		}
		if !slices.Contains(names, call.Name) {
			names = append(names, call.Name)
		}
		return nil
	})
	return names
}

func unknownCalls(expr hcl.Expression, functions map[string]function.Function) []string {
	return slices.DeleteFunc(calls(expr), func(name string) bool { _, ok := functions[name]; return ok })
}

// read evaluates an expression. The reason is nil if its value is wholly known. Invalid
// expressions are unknown: Nomad reports their errors.
func (s *scope) read(expr hcl.Expression) (cty.Value, *diagnostic.Unknown) {
	v, diags := bounds.Value(expr, s.ctx)
	if diags.HasErrors() {
		return cty.DynamicVal, s.reason(expr, diags)
	}
	if !v.IsWhollyKnown() {
		return v, s.reason(expr, nil)
	}
	return v, nil
}

// reason returns the reason why the value of an expression is unknown.
func (s *scope) reason(expr hcl.Expression, diags hcl.Diagnostics) *diagnostic.Unknown {
	f := &finding{scope: s, seen: map[string]bool{}}
	f.look(expr)
	var names, ways []string
	if len(f.vars) > 0 {
		var give []string
		for _, name := range f.vars {
			names, give = append(names, "var."+name), append(give, "-var "+name+"=…")
		}
		ways = append(ways, "Give "+strings.Join(give, " and ")+", or -var-file.")
	}
	if len(f.files) > 0 {
		names = append(names, f.files...)
		ways = append(ways, "Functions that read files are disabled; -allow-fs lets this job read every file that you can read.")
	}
	for _, name := range f.random {
		names = append(names, name)
		ways = append(ways, fmt.Sprintf("%s returns another value each time; put one into a variable.", name))
	}
	for _, name := range f.unknown {
		names = append(names, name)
		ways = append(ways, fmt.Sprintf("This program does not have the function %s; write its result into the job.", name))
	}
	u := &diagnostic.Unknown{Expr: strings.Join(names, ", "), WayOut: strings.Join(ways, " "), Range: expr.Range()}
	if len(names) == 0 {
		u.Expr, u.WayOut = "an expression that cannot be evaluated", "Correct the expression."
		switch {
		case diags.HasErrors() && diags[0].Summary == "Ambiguous attribute key":
			u.WayOut = "Write a key with dots in quotes, as in meta = { \"sidecar.inject\" = … }."
		case diags.HasErrors():
			u.WayOut = diags[0].Summary + ". " + u.WayOut
		}
	}
	return u
}

// maxLocals bounds the number of local values that a reason follows, since long chains would
// take quadratic time.
const maxLocals = 100

// finding collects the names that an expression uses and that the scope lacks.
type finding struct {
	*scope
	seen   map[string]bool // local values
	vars   []string
	files  []string // such as "file()"
	random []string
	// unknown are functions that do not exist.
	unknown []string
}

func (f *finding) look(expr hcl.Expression) {
	for _, t := range expr.Variables() {
		name := ""
		if len(t) > 1 {
			name = sidecar.AttributeName(t[1])
		}
		each, iterator := f.iterators[t.RootName()]
		switch {
		case iterator && !f.seen["for_each "+t.RootName()]:
			f.seen["for_each "+t.RootName()] = true
			f.look(each)
		case t.RootName() == "var" && f.unset[name]:
			f.vars = addName(f.vars, name)
		case t.RootName() == "local" && f.locals[name] != nil && !f.seen[name] && len(f.seen) < maxLocals:
			f.seen[name] = true
			f.look(f.locals[name].Expr)
		}
	}
	f.addCalls(expr)
}

// addCalls adds the functions with unknown results.
func (f *finding) addCalls(expr hcl.Expression) {
	for _, name := range calls(expr) {
		_, have := f.ctx.Functions[name]
		_, file := fileFunctions()[name]
		switch {
		case !have:
			f.unknown = addName(f.unknown, name+"()")
		case file && f.noFS:
			f.files = addName(f.files, name+"()")
		case isRandom(name):
			f.random = addName(f.random, name+"()")
		}
	}
}

func addName(to []string, name string) []string {
	if slices.Contains(to, name) {
		return to
	}
	return append(to, name)
}

// missing returns the first expression of the file that calls a function without a known
// result. Nomad's parser would report it, but try() and can() hide that.
func (f *File) missing() *diagnostic.Unknown {
	var found *diagnostic.Unknown
	for _, b := range f.file.Body.(*hclsyntax.Body).Blocks {
		if b.Type != "job" && b.Type != "locals" {
			continue // variables have types, which look like calls
		}
		_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics { // the callback returns no diagnostics
			a, ok := n.(*hclsyntax.Attribute)
			if !ok || (found != nil && found.Range.Start.Byte < a.SrcRange.Start.Byte) {
				return nil
			}
			l := &finding{scope: f.scope}
			if l.addCalls(a.Expr); len(l.files)+len(l.unknown) > 0 {
				found = f.scope.reason(a.Expr, nil)
			}
			return nil
		})
	}
	return found
}

package sidecar

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Functions returns the functions that expressions of definitions may call.
func Functions() map[string]function.Function { return functions() }

// functions returns Nomad's functions, except nondeterministic ones and those that
// access files.
func functions() map[string]function.Function {
	f := bounds.Functions(jobspec2.Functions("", false))
	for _, name := range []string{
		"uuidv4", "bcrypt", "abspath", "basename", "dirname", "file", "filebase64", "fileexists", "fileset", "pathexpand",
	} {
		delete(f, name)
	}
	return f
}

// IsRuntimeReference reports whether Nomad resolves a reference when the
// task runs: https://developer.hashicorp.com/nomad/docs/reference/runtime-variable-interpolation
func IsRuntimeReference(root string) bool {
	switch root {
	case "attr", "meta", "node", "env", "device", "secret":
		return true
	}
	return strings.HasPrefix(root, "NOMAD_")
}

// scopeNames are the allowed references besides param.
func scopeNames() map[string][]string {
	return map[string][]string{
		"job":   {"id", "name", "namespace", "type", "region", "meta"},
		"group": {"name", "count", "meta"},
		"app":   {"tasks"},
	}
}

// refScope describes which references an expression may contain.
type refScope struct {
	job       bool     // job, group, app and local are available
	outputs   bool     // outputs of sidecars are available
	iterators []string // of the enclosing dynamic blocks
}

// checkReferences rejects references and functions that cannot be resolved, so that
// errors appear when a definition is loaded.
func (d *Definition) checkReferences() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, p := range d.Parameters {
		for _, v := range p.validations {
			diags = append(diags, d.checkExpression(v.condition, refScope{})...)
		}
	}
	for _, a := range d.locals {
		diags = append(diags, d.checkExpression(a.Expr, refScope{job: true})...)
	}
	inJob := refScope{job: true, outputs: true}
	if !diags.HasErrors() {
		diags = append(diags, d.checkLocals()...)
	}
	check := func(a *hcl.Attribute) {
		if a != nil {
			diags = append(diags, d.checkExpression(a.Expr, inJob)...)
		}
	}
	for _, p := range d.API.Ports {
		if p.to != nil {
			diags = append(diags, d.checkExpression(p.to, inJob)...)
		}
		check(p.enabled)
	}
	for _, e := range d.API.Env {
		diags = append(diags, d.checkExpression(e.value, inJob)...)
		check(e.enabled)
	}
	blocks := slices.Concat(d.tasks, d.services, d.volumes)
	if d.app != nil {
		blocks = append(blocks, d.app)
	}
	for _, b := range blocks {
		diags = append(diags, d.checkBody(b.Body, inJob)...)
	}
	return append(diags, d.checkOutputs()...)
}

func (d *Definition) checkBody(b *hclsyntax.Body, at refScope) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, a := range sortedAttributes(b) {
		diags = append(diags, d.checkExpression(a.Expr, at)...)
	}
	for _, blk := range b.Blocks {
		if blk.Type == "dynamic" {
			diags = append(diags, d.checkDynamic(blk, at)...)
			continue
		}
		diags = append(diags, d.checkBody(blk.Body, at)...)
	}
	return diags
}

func (d *Definition) checkDynamic(b *hclsyntax.Block, at refScope) hcl.Diagnostics {
	dyn, diags := readDynamic(b)
	if dyn == nil {
		return diags
	}
	diags = append(diags, d.checkExpression(dyn.forEach, at)...)
	inner := refScope{at.job, at.outputs, append(slices.Clone(at.iterators), dyn.iterator)}
	if dyn.labels != nil {
		diags = append(diags, d.checkExpression(dyn.labels, inner)...)
	}
	return append(diags, d.checkBody(dyn.content.Body, inner)...)
}

func (d *Definition) checkExpression(expr hcl.Expression, at refScope) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, t := range expr.Variables() {
		if diag := d.checkTraversal(t, at); diag != nil {
			diags = append(diags, diag)
		}
	}
	if node, ok := expr.(hclsyntax.Node); ok {
		known := d.functions
		more := hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			call, ok := n.(*hclsyntax.FunctionCallExpr)
			if !ok {
				return nil
			}
			if _, ok := known[call.Name]; ok {
				return nil
			}
			detail := fmt.Sprintf("There is no function %q.%s", call.Name, didYouMean(call.Name, slices.Sorted(maps.Keys(known))))
			if _, ok := jobspec2.Functions("", false)[call.Name]; ok {
				detail = fmt.Sprintf("A definition cannot use %s: its result could be another one on each run or on each machine.", call.Name)
			}
			return hcl.Diagnostics{diagnostic.Error(call.NameRange, "Unknown function", detail+" Definitions have Nomad's HCL2 functions, but for uuidv4, bcrypt, and those about files.")}
		})
		diags = append(diags, more...)
	}
	return diags
}

func (d *Definition) checkTraversal(t hcl.Traversal, in refScope) *hcl.Diagnostic {
	at := t.SourceRange()
	root := t.RootName()
	second := ""
	if len(t) > 1 {
		second = AttributeName(t[1])
	}
	if slices.Contains(in.iterators, root) {
		return nil
	}
	switch {
	case root == "param":
		if second != "" && d.parameter(second) == nil {
			return diagnostic.Error(at, "Unknown parameter", fmt.Sprintf(
				"Sidecar %q has no parameter %q.%s Declare it with parameter %q { … }.", d.Name, second, didYouMean(second, d.parameterNames()), second))
		}
		return nil
	case !in.job:
		return diagnostic.Error(at, "Invalid reference", "A validation sees only param.*.")
	case root == "local":
		if second == "" || d.local(second) == nil {
			return diagnostic.Error(at, "Unknown local value", fmt.Sprintf("Sidecar %q has no local value %q.%s Define it in locals { … }.", d.Name, second, didYouMean(second, d.localNames())))
		}
		return nil
	}
	if names, ok := scopeNames()[root]; ok {
		if second != "" && !slices.Contains(names, second) {
			return diagnostic.Error(at, "Unknown reference", fmt.Sprintf(
				"There is no %s.%s. There is: %s.", root, second, strings.Join(names, ", ")))
		}
		return nil
	}
	if root == OutputRoot {
		return d.checkOutputRef(t, in)
	}
	if IsRuntimeReference(root) {
		return nil
	}
	return diagnostic.Error(at, "Unknown reference", fmt.Sprintf(
		"There is no %q here.%s It is neither param, local, job, group, app or sidecar, nor one of Nomad's runtime references (NOMAD_…, attr, meta, node, env, device, secret). Write $${%s} for text that should reach Nomad as ${%s}.",
		root, didYouMean(root, append([]string{"param", "local", "job", "group", "app", OutputRoot}, in.iterators...)), root, root))
}

// checkOutputRef records a reference to an output.
func (d *Definition) checkOutputRef(t hcl.Traversal, in refScope) *hcl.Diagnostic {
	ref, ok := outputRef(t)
	switch {
	case !ok:
		return diagnostic.Error(t.SourceRange(), "Invalid reference", "Write sidecar.NAME.OUTPUT: the name of a sidecar in the same group, and of one of its outputs.")
	case !in.outputs:
		return diagnostic.Error(t.SourceRange(), "Invalid reference", "Outputs and local values cannot use outputs of sidecars. Add a parameter, and give it the output in the job; or use the output in a block.")
	}
	known := slices.ContainsFunc(d.uses, func(o OutputRef) bool { return o.String() == ref.String() })
	if !known {
		d.uses = append(d.uses, ref)
	}
	return nil
}

func (d *Definition) parameterNames() []string {
	out := make([]string, 0, len(d.Parameters))
	for _, p := range d.Parameters {
		out = append(out, p.Name)
	}
	return out
}

func (d *Definition) localNames() []string {
	out := make([]string, 0, len(d.locals))
	for _, a := range d.locals {
		out = append(out, a.Name)
	}
	return out
}

func sortedAttributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	out := make([]*hclsyntax.Attribute, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y *hclsyntax.Attribute) int {
		return x.SrcRange.Start.Byte - y.SrcRange.Start.Byte
	})
	return out
}

func listOr(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}

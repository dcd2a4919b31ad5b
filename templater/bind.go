package templater

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// binding binds the parameters of a group's sidecars in the order of the outputs that they use.
type binding struct {
	*chooser
	group   *job.Group
	found   map[string]*candidate
	kept    []string
	choices map[string]*Choice // nil for one with errors
	absent  map[string]bool    // sidecars that the group does not get, with an error
	pending []step             // from the first sidecar to the current one
}

// step is a sidecar that is being bound, and the reference that led to the next one.
type step struct {
	sidecar string
	next    sidecar.OutputRef
}

// bind returns the choices for the candidates by name; nil for one with errors.
func (c *chooser) bind(g *job.Group, found map[string]*candidate, kept []string) map[string]*Choice {
	b := &binding{chooser: c, group: g, found: found, kept: kept, choices: map[string]*Choice{}, absent: map[string]bool{}}
	names := slices.Sorted(maps.Keys(found))
	for _, name := range names {
		cand := found[name]
		if cand.definition = c.version(g, cand); cand.definition == nil {
			b.choices[name] = nil
			continue
		}
		b.parameters(cand)
		for param, arg := range cand.arguments {
			arg, diags := cand.definition.Defer(param, arg)
			cand.arguments[param] = arg
			c.diags = append(c.diags, diags...)
		}
	}
	for _, name := range names {
		b.visit(name)
	}
	return b.choices
}

// visit binds a sidecar after the sidecars with the outputs that it uses, and reports whether that
// succeeded.
func (b *binding) visit(name string) bool {
	if choice, done := b.choices[name]; done {
		return choice != nil
	}
	cand := b.found[name]
	at := len(b.pending)
	b.pending = append(b.pending, step{sidecar: name})
	defer func() { b.pending = b.pending[:at] }()
	ok := true
	for _, param := range slices.Sorted(maps.Keys(cand.arguments)) {
		for _, ref := range cand.arguments[param].Uses {
			b.pending[at].next = ref
			ok = b.has(cand, param, ref) && ok
		}
	}
	if ok {
		b.choices[name] = b.choice(cand)
	} else if _, done := b.choices[name]; !done {
		b.choices[name] = nil
	}
	return b.choices[name] != nil
}

// has makes an output available, or reports why it is not.
func (b *binding) has(cand *candidate, param string, ref sidecar.OutputRef) bool {
	of := b.found[ref.Sidecar]
	if of == nil {
		if b.absent[ref.Sidecar] {
			return false // one error suffices
		}
		b.absent[ref.Sidecar] = true
		b.fail(ref.Range, "Sidecar not chosen", fmt.Sprintf("Parameter %q of sidecar %q uses output %s, but %s",
			param, cand.name, ref, b.whyNone(ref.Sidecar)))
		return false
	}
	if of.definition == nil {
		return false // an error about it is there
	}
	if !slices.Contains(of.definition.OutputNames(), ref.Output) {
		b.report(hcl.Diagnostics{of.definition.NoOutput(ref)})
		return false
	}
	if i := slices.IndexFunc(b.pending, func(s step) bool { return s.sidecar == ref.Sidecar }); i >= 0 {
		if _, reported := b.choices[ref.Sidecar]; !reported {
			b.circle(i)
		}
		return false
	}
	if !b.visit(ref.Sidecar) {
		return false
	}
	choice := b.choices[ref.Sidecar]
	if choice.Outputs == nil {
		if diags := choice.evaluateOutputs(b.job); diags.HasErrors() {
			b.report(diags)
			return false
		}
	}
	if choice.Outputs[ref.Output].Value.IsNull() {
		others := slices.DeleteFunc(of.definition.OutputNames(), func(name string) bool { return choice.Outputs[name].Value.IsNull() })
		fix := "No output of it has one. Set its parameters, or do not use it."
		if len(others) > 0 {
			fix = fmt.Sprintf("Use an output with a value: %s.", strings.Join(others, ", "))
		}
		b.fail(ref.Range, "Output without a value", fmt.Sprintf("Parameter %q of sidecar %q uses output %s, which has no value with the parameters of sidecar %q in group %q. %s",
			param, cand.name, ref, ref.Sidecar, b.group.Name, fix))
		return false
	}
	return true
}

// whyNone explains why a group has no such sidecar.
func (b *binding) whyNone(name string) string {
	group := b.group.Name
	switch {
	case slices.Contains(b.kept, name):
		return whyKept(b.flags, group, name)
	case len(b.catalog.Versions(name)) > 0:
		return fmt.Sprintf("group %q does not get sidecar %q. Choose that sidecar too.", group, name)
	}
	return fmt.Sprintf("the catalog has no sidecar %q.%s It has: %s.", name, suggestion(name, b.catalog.Names()), sidecar.NameList(b.catalog.Names()))
}

// whyKept explains why the outputs of a kept sidecar are not known.
func whyKept(flags Flags, group, name string) string {
	how := "it was injected earlier"
	if i := slices.IndexFunc(flags.Kept, func(m job.Marked) bool { return m.Group == group && m.Mark.Name == name }); i >= 0 {
		how = chosenEarlier(flags.Kept[i])
	}
	return fmt.Sprintf("group %q keeps sidecar %q as %s, and its outputs are not known any more. Choose both sidecars by meta %q or by policy, or inject into the original job.", group, name, how, metaInject)
}

// chosenEarlier names what chose a kept sidecar.
func chosenEarlier(m job.Marked) string {
	if m.Mark.Origin == OriginMeta {
		return "meta chose it earlier"
	}
	return "a " + m.Mark.Origin + " chose it earlier"
}

// circle reports sidecars that need each other's outputs.
func (b *binding) circle(from int) {
	var names []string
	for _, s := range b.pending[from:] {
		names = append(names, s.sidecar)
		b.choices[s.sidecar] = nil
	}
	names = append(names, names[0])
	ref := b.pending[len(b.pending)-1].next
	b.report(hcl.Diagnostics{diagnostic.Error(ref.Range, "Circular outputs", fmt.Sprintf(
		"In group %q each of these sidecars needs an output of the next: %s. Give one of their parameters a value without %s.",
		b.group.Name, strings.Join(names, " → "), ref))})
}

// choice binds the parameters of a candidate.
func (b *binding) choice(cand *candidate) *Choice {
	site := cand.at
	if site == (hcl.Range{}) {
		site = b.group.Range
	}
	sensitive, ok := b.evaluate(cand)
	if !ok {
		return nil
	}
	def := cand.definition
	values, diags := b.binder.Bind(def, cand.arguments, site)
	b.diags = append(b.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	b.deprecated(b.group, def.Deprecations(cand.arguments, cand.at))
	var uses []sidecar.OutputRef
	for _, param := range slices.Sorted(maps.Keys(cand.arguments)) {
		uses = append(uses, cand.arguments[param].Uses...)
	}
	uses = slices.DeleteFunc(append(uses, def.Uses()...), func(ref sidecar.OutputRef) bool { return ref.Sidecar == def.Name })
	return &Choice{
		Group: b.group, Definition: def, Uses: uses, Values: values, Sensitive: sensitive, Origin: cand.origin, Range: cand.at,
		Rules: cand.rules, Required: cand.required != "", Constraints: cand.constraints,
	}
}

// evaluate replaces arguments by their values. It returns the parameters that depend on a sensitive
// output.
func (b *binding) evaluate(cand *candidate) (sensitive map[string]bool, ok bool) {
	ok, sensitive = true, map[string]bool{}
	for _, param := range slices.Sorted(maps.Keys(cand.arguments)) {
		arg, results := cand.arguments[param], map[string]map[string]sidecar.Result{}
		for _, ref := range arg.Uses {
			results[ref.Sidecar] = b.choices[ref.Sidecar].Outputs
			sensitive[param] = sensitive[param] || results[ref.Sidecar][ref.Output].Sensitive
		}
		known, diags := arg.Known(sidecar.SidecarsValue(results))
		if diags.HasErrors() && sensitive[param] {
			diags = hcl.Diagnostics{diagnostic.Error(arg.Safe, diags[0].Summary, fmt.Sprintf(
				"Parameter %q of sidecar %q depends on a sensitive output, so no more is shown. Check its expression.", param, cand.name))}
		}
		b.report(diags)
		cand.arguments[param] = known
		ok = ok && !diags.HasErrors()
	}
	return sensitive, ok
}

// evaluateOutputs sets the outputs of a choice.
func (c *Choice) evaluateOutputs(j *job.Job) (diags hcl.Diagnostics) {
	scope := scopeOf(j, c.Group)
	scope.Sensitive = c.Sensitive
	c.Outputs, diags = c.Definition.EvaluateOutputs(scope, c.Values)
	return diags
}

package sidecar

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Scope is the job without any sidecar, as expressions of a definition refer to it.
// Fields that are not known before the job is parsed are unknown
// values; a definition that uses one gets an error.
type Scope struct {
	JobID, JobName, Namespace, JobType, Region string

	JobMeta   map[string]string
	GroupName string
	Count     cty.Value // number
	GroupMeta map[string]string
	AppTasks  []string

	// Outputs are the outputs of sidecars to which the definition refers, by sidecar.
	Outputs map[string]map[string]Result
	// Absent explains why outputs of a sidecar are not known, if it is not merely missing in the group.
	Absent map[string]string
	// Sensitive are the definition's parameters with a value from a sensitive output.
	Sensitive map[string]bool

	// Unknown are the reasons why values are not known, by reference: "job.namespace",
	// "job.meta" for the map as a whole, "job.meta.KEY" for one value in it.
	Unknown map[string]*diagnostic.Unknown
}

// text is a string of the scope, unknown if there is a reason.
func (s *Scope) text(reference, value string) cty.Value {
	if s.Unknown[reference] != nil {
		return cty.UnknownVal(cty.String)
	}
	return cty.StringVal(value)
}

// meta is a map of the scope.
func (s *Scope) meta(reference string, values map[string]string) cty.Value {
	if s.Unknown[reference] != nil {
		return cty.UnknownVal(cty.Map(cty.String))
	}
	out := make(map[string]cty.Value, len(values))
	for k, v := range values {
		out[k] = cty.StringVal(v)
	}
	for key := range s.Unknown {
		if name, ok := strings.CutPrefix(key, reference+"."); ok {
			out[name] = cty.UnknownVal(cty.String)
		}
	}
	if len(out) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	return cty.MapVal(out)
}

// Instance is a definition with all expressions evaluated for one group.
type Instance struct {
	Ports    []InstancePort
	Env      []*Variable // for app tasks
	Config   []*Attr     // for the driver config of app tasks
	App      []*Block
	Tasks    []*Block
	Services []*Block
	Volumes  []*Block
}

// Size returns the approximate bytes that the instance adds to a group with some app tasks.
func (i *Instance) Size(appTasks int) int {
	n := 0
	for _, b := range slices.Concat(i.Tasks, i.Services, i.Volumes) {
		n += b.size()
	}
	for _, b := range i.App {
		n += appTasks * b.size()
	}
	for _, v := range i.Env {
		n += appTasks * (len(v.Name) + bounds.SizeOf(v.Value))
	}
	for _, a := range i.Config {
		n += appTasks * (len(a.Name) + bounds.SizeOf(a.Value))
	}
	return n
}

// Variable is an environment variable with a string as its value. If Declared is set and has
// Append, the value is added to the variable of a task.
type Variable struct {
	*Attr
	Declared *Env // nil for a variable of app.env
}

// InstancePort is a port to add to the group's network. To is the port inside
// the pod, 0 if the definition does not set it.
type InstancePort struct {
	Label string
	To    int
	Range hcl.Range
}

// Evaluate evaluates the definition for a group. Values come from Bind.
func (d *Definition) Evaluate(scope Scope, values map[string]cty.Value) (*Instance, hcl.Diagnostics) {
	budget := bounds.NewBudget()
	e := &evaluator{def: d, ctx: budget.In(d.context(scope, values)), unknown: scope.Unknown, tainted: scope.Sensitive, outputs: scope.Outputs, absent: scope.Absent}
	e.locals(d.locals)
	inst := &Instance{}
	for _, p := range d.API.Ports {
		if !e.enabled(p.enabled) {
			continue
		}
		inst.Ports = append(inst.Ports, InstancePort{Label: p.Label, To: e.port(p), Range: p.Range})
	}
	for _, v := range d.API.Env {
		if !e.enabled(v.enabled) {
			continue
		}
		if a := e.attribute(v.Name, v.value, v.Range); a != nil {
			inst.Env = append(inst.Env, &Variable{e.text(a), v})
		}
	}
	inst.Tasks = e.blocks(d.tasks)
	inst.Services = e.blocks(d.services)
	inst.Volumes = e.blocks(d.volumes)
	if d.app != nil && e.enabled(e.switchOf(d.app)) {
		e.app(inst, d.app)
	}
	for _, t := range inst.Tasks {
		e.meta(t)
	}
	if over := budget.Exceeded(); over.HasErrors() {
		return nil, over // later errors would be consequences
	}
	if e.diags.HasErrors() {
		return nil, e.diags
	}
	return inst, nil
}

func (d *Definition) context(s Scope, values map[string]cty.Value) *hcl.EvalContext {
	src := d.file.Bytes
	count := s.Count
	if count == cty.NilVal {
		count = cty.UnknownVal(cty.Number)
	}
	tasks := make([]cty.Value, 0, len(s.AppTasks))
	for _, t := range s.AppTasks {
		tasks = append(tasks, cty.StringVal(t))
	}
	appTasks := cty.ListValEmpty(cty.String)
	if len(tasks) > 0 {
		appTasks = cty.ListVal(tasks)
	}
	return &hcl.EvalContext{
		Functions: d.functions,
		Variables: map[string]cty.Value{
			"param": cty.ObjectVal(values),
			"job": cty.ObjectVal(map[string]cty.Value{
				"id": s.text("job.id", s.JobID), "name": s.text("job.name", s.JobName),
				"namespace": s.text("job.namespace", s.Namespace), "type": s.text("job.type", s.JobType),
				"region": s.text("job.region", s.Region), "meta": s.meta("job.meta", s.JobMeta),
			}),
			"group": cty.ObjectVal(map[string]cty.Value{
				"name": cty.StringVal(s.GroupName), "count": count, "meta": s.meta("group.meta", s.GroupMeta),
			}),
			"app":      cty.ObjectVal(map[string]cty.Value{"tasks": appTasks}),
			OutputRoot: SidecarsValue(s.Outputs),
		},
		UndefinedVariable: func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) {
			r := t.SourceRange()
			return cty.StringVal("${" + string(src[r.Start.Byte:r.End.Byte]) + "}"), nil
		},
	}
}

// evaluator collects diagnostics while it walks a definition.
type evaluator struct {
	def *Definition
	ctx *hcl.EvalContext
	// iterators are the iterators of the enclosing dynamic blocks.
	iterators []iterator
	// unknown is Scope.Unknown.
	unknown map[string]*diagnostic.Unknown
	// tainted is Scope.Sensitive, outputs is Scope.Outputs.
	tainted map[string]bool
	outputs map[string]map[string]Result
	// absent is Scope.Absent, reported are missing sidecars with an error.
	absent   map[string]string
	reported []string
	// foreign means that the blocks belong to a driver, which defines their attributes.
	foreign bool
	diags   hcl.Diagnostics
}

func (e *evaluator) fail(at hcl.Range, summary, detail string) {
	e.diags = append(e.diags, diagnostic.Error(at, summary, detail))
}

// value evaluates an expression; ok is false if that fails. The error of an expression
// that depends on a sensitive parameter omits HCL's message, which may quote the value.
func (e *evaluator) value(expr hcl.Expression) (v cty.Value, ok bool) {
	v, diags := bounds.Value(expr, e.ctx)
	for _, d := range diags {
		if p := e.sensitive(expr, map[hcl.Expression]bool{}); p != "" {
			shown := *d
			d = &shown
			d.Detail = fmt.Sprintf("It depends on %s, which is sensitive, so no more is shown. Give it another value, or look at this expression.", p)
		}
		e.diags = append(e.diags, d)
	}
	if ref, ok := e.missing(expr); diags.HasErrors() && ok {
		e.diags = e.diags[:len(e.diags)-len(diags)]
		e.notChosen(ref)
	}
	return v, !diags.HasErrors()
}

// missing returns an output in an expression of a sidecar that the group does not get.
func (e *evaluator) missing(expr hcl.Expression) (OutputRef, bool) {
	for _, t := range expr.Variables() {
		ref, ok := outputRef(t)
		if !ok || t.RootName() != OutputRoot {
			continue
		}
		if _, chosen := e.outputs[ref.Sidecar]; !chosen {
			return ref, true
		}
	}
	return OutputRef{}, false
}

// notChosen reports a sidecar that the group does not get, once.
func (e *evaluator) notChosen(ref OutputRef) {
	if slices.Contains(e.reported, ref.Sidecar) {
		return
	}
	e.reported = append(e.reported, ref.Sidecar)
	why := e.absent[ref.Sidecar]
	if why == "" {
		why = fmt.Sprintf("the group gets no sidecar %q. Choose that sidecar too.", ref.Sidecar)
	}
	e.fail(ref.Range, "Sidecar not chosen", fmt.Sprintf("Sidecar %q uses output %s, but %s", e.def.Name, ref, why))
}

// attribute evaluates one attribute. It returns nil if the value is null or invalid.
func (e *evaluator) attribute(name string, expr hcl.Expression, at hcl.Range) *Attr {
	v, ok := e.value(expr)
	if !ok || v.IsNull() {
		return nil
	}
	if !v.IsWhollyKnown() {
		e.notKnown(expr, "Unknown value", fmt.Sprintf(
			"%s depends on something that is only known once the job is parsed. Give the job's variables with -var or -var-file.", name))
		return nil
	}
	if e.foreign && !e.staysText(name, expr, v, inDriverConfig()) {
		return nil
	}
	return &Attr{Name: name, Value: withoutNulls(v), Range: at}
}

func (e *evaluator) block(b *hclsyntax.Block) *Block {
	outside := e.foreign
	without := e.switchOf(b)
	e.foreign = outside || b.Type == "config"
	body := e.body(b.Body, without)
	e.foreign = outside
	if b.Type == "template" && !outside {
		e.templateData(b, body)
	}
	return &Block{Type: b.Type, Labels: slices.Clone(b.Labels), Body: body, Range: b.DefRange()}
}

// body evaluates a body except for its switch, the attribute that enables the block.
func (e *evaluator) body(b *hclsyntax.Body, without *hcl.Attribute) Body {
	type placed struct {
		start int
		item  Item
	}
	var items []placed
	for _, a := range sortedAttributes(b) {
		if without != nil && a.Name == without.Name {
			continue
		}
		if attr := e.attribute(a.Name, a.Expr, a.SrcRange); attr != nil {
			items = append(items, placed{a.SrcRange.Start.Byte, attr})
		}
	}
	for _, blk := range b.Blocks {
		for _, made := range e.blocks([]*hclsyntax.Block{blk}) {
			items = append(items, placed{blk.TypeRange.Start.Byte, made})
		}
	}
	slices.SortStableFunc(items, func(x, y placed) int { return x.start - y.start })
	body := make(Body, 0, len(items))
	for _, it := range items {
		body = append(body, it.item)
	}
	return body
}

func (e *evaluator) port(p *Port) int {
	if p.to == nil {
		return 0
	}
	a := e.attribute("to", p.to, p.Range)
	if a == nil {
		return 0
	}
	n, err := convert.Convert(a.Value, cty.Number)
	if err == nil {
		to, _ := n.AsBigFloat().Int64()
		if n.AsBigFloat().IsInt() && to >= 1 && to <= 65535 {
			return int(to)
		}
	}
	e.fail(p.to.Range(), "Invalid port", fmt.Sprintf("Port %q must lead to a number from 1 to 65535.", p.Label))
	return 0
}

// text converts the value of an environment variable to a string.
func (e *evaluator) text(a *Attr) *Attr {
	v, err := convert.Convert(a.Value, cty.String)
	if err != nil {
		e.fail(a.Range, "Invalid environment variable", fmt.Sprintf("The value of %s must be a string.", a.Name))
		return a
	}
	return &Attr{Name: a.Name, Value: v, Range: a.Range}
}

func (e *evaluator) app(inst *Instance, app *hclsyntax.Block) {
	for _, blk := range e.blocks(app.Body.Blocks) {
		if blk.Type != "env" && blk.Type != "config" {
			inst.App = append(inst.App, blk)
			continue
		}
		for _, it := range blk.Body {
			a, ok := it.(*Attr)
			if !ok {
				e.fail(it.(*Block).Range, "Invalid block", fmt.Sprintf("app.%s holds attributes only.", blk.Type))
				continue
			}
			if blk.Type == "env" {
				inst.Env = append(inst.Env, &Variable{Attr: e.text(a)})
			} else {
				inst.Config = append(inst.Config, a)
			}
		}
	}
}

// meta converts a task's meta to a map of strings and rejects reserved keys.
func (e *evaluator) meta(t *Block) {
	check := func(v cty.Value, at hcl.Range) {
		if !v.CanIterateElements() || v.Type().IsTupleType() || v.Type().IsListType() {
			e.fail(at, "Invalid meta", "meta must be a map of strings.")
			return
		}
		for k := range v.AsValueMap() {
			if len(k) > 8 && k[:8] == "sidecar." {
				e.fail(at, "Reserved meta", fmt.Sprintf("%q is set by the injection itself; choose another key.", k))
			}
		}
	}
	if a := t.Body.Attr("meta"); a != nil {
		check(a.Value, a.Range)
	}
}

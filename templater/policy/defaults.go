package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// decodeDefault reads a default block. Its values are constant, so that Nomad's parser can check
// them before there is a job.
func (r *Rule) decodeDefault(b *hcl.Block) hcl.Diagnostics {
	if r.defaultsAt != nil {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Duplicate default block", fmt.Sprintf("This rule already has a default block at %s. Merge the two blocks.", r.defaultsAt))}
	}
	r.defaultsAt = b.DefRange.Ptr()
	schema := &hcl.BodySchema{}
	for _, f := range job.DefaultFields() {
		if f.Block {
			schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: f.Name})
		} else {
			schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: f.Name})
		}
	}
	content, diags := b.Body.Content(schema)
	for _, d := range diags {
		d.Detail += " A policy has defaults for " + defaultNames() + "."
	}
	for _, inner := range content.Blocks {
		diags = append(diags, r.defaultBlock(inner)...)
	}
	for _, f := range job.DefaultFields() {
		a := content.Attributes[f.Name]
		if a == nil {
			continue
		}
		attr, more := constant(a)
		if diags = append(diags, more...); attr != nil {
			diags = append(diags, r.addDefault(f.Name, attr, a.Range, []*hcl.Attribute{a})...)
		}
	}
	if len(r.defaults) == 0 && !diags.HasErrors() {
		diags = append(diags, diagnostic.Error(b.DefRange, "Empty default block", "Set one of "+defaultNames()+", or remove the block."))
	}
	return diags
}

func defaultNames() string {
	var names []string
	for _, f := range job.DefaultFields() {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func (r *Rule) defaultBlock(b *hcl.Block) hcl.Diagnostics {
	f := job.FindDefaultField(b.Type)
	if first := r.defaultOf(b.Type); first != nil && b.Type != "constraint" {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Duplicate default", fmt.Sprintf("This rule already sets %s at %s. Merge the two blocks.", b.Type, first.Range))}
	}
	if f.Keyed && f.Attributes == nil {
		return r.defaultMap(f, b)
	}
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes(attributesOf(f)...)})
	for _, d := range diags {
		d.Detail += fmt.Sprintf(" A default for %s has %s.", b.Type, strings.Join(attributesOf(f), ", "))
	}
	out := &sidecar.Block{Type: b.Type, Range: b.DefRange}
	var attrs []*hcl.Attribute
	for _, name := range attributesOf(f) {
		a := content.Attributes[name]
		if a == nil {
			continue
		}
		attr, more := constant(a)
		if diags = append(diags, more...); attr != nil {
			out.Body, attrs = append(out.Body, attr), append(attrs, a)
		}
	}
	if diags.HasErrors() {
		return diags
	}
	if len(out.Body) == 0 {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Empty default", fmt.Sprintf("This %s block sets nothing. Set one of %s, or remove it.", b.Type, strings.Join(attributesOf(f), ", ")))}
	}
	return r.addDefault(b.Type, out, b.DefRange, attrs)
}

func (r *Rule) defaultOf(name string) *job.Default {
	for _, d := range r.defaults {
		if d.Field.Name == name {
			return d
		}
	}
	return nil
}

// attributesOf returns the attributes of a block that a policy may set.
func attributesOf(f *job.DefaultField) []string {
	if f.Attributes != nil {
		return f.Attributes
	}
	var out []string
	for _, a := range reflect.VisibleFields(f.APIType()) {
		if name, _, ok := strings.Cut(a.Tag.Get("hcl"), ",optional"); ok {
			out = append(out, name)
		}
	}
	return out
}

// constant evaluates an attribute of a default block. The result is nil for an error, or null.
func constant(a *hcl.Attribute) (*sidecar.Attr, hcl.Diagnostics) {
	if diags := checkReferences(a.Expr, inRule); diags.HasErrors() && len(a.Expr.Variables()) == 0 {
		return nil, diags
	}
	for _, t := range a.Expr.Variables() {
		if !sidecar.IsRuntimeReference(t.RootName()) {
			return nil, hcl.Diagnostics{diagnostic.Error(t.SourceRange(), "Default is not constant", "A default is the same for all jobs that its rule matches. Write a constant, and a rule with another match block for other jobs.")}
		}
	}
	v, diags := bounds.Value(a.Expr, bounds.NewBudget().In(&hcl.EvalContext{
		Variables: map[string]cty.Value{}, Functions: sidecar.Functions(), UndefinedVariable: verbatim,
	}))
	switch {
	case diags.HasErrors():
		return nil, diags
	case v.IsNull() || !v.IsWhollyKnown():
		return nil, hcl.Diagnostics{diagnostic.Error(a.Expr.Range(), "Default without a value", fmt.Sprintf("%s is null. Give it a value, or remove it.", a.Name))}
	}
	return &sidecar.Attr{Name: a.Name, Value: v, Range: a.Range}, nil
}

// verbatim returns a reference that Nomad resolves when the task runs or is placed.
func verbatim(t hcl.Traversal) (cty.Value, hcl.Diagnostics) {
	var out strings.Builder
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			out.WriteString(step.Name)
		case hcl.TraverseAttr:
			out.WriteString("." + step.Name)
		default:
			return cty.DynamicVal, hcl.Diagnostics{diagnostic.Error(t.SourceRange(), "Invalid reference", "A default refers to a value by names and dots, such as ${attr.kernel.name}.")}
		}
	}
	return cty.StringVal("${" + out.String() + "}"), nil
}

// keep adds a default, unless its value is too large.
func (r *Rule) keep(d *job.Default) hcl.Diagnostics {
	size := len(d.Recorded())
	if d.Field.Keyed {
		size = len(d.Key) + len(d.JSON)
	}
	if size > job.MaxRecorded {
		return hcl.Diagnostics{diagnostic.Error(d.Range, "Default too large", fmt.Sprintf("The value for %s has %d bytes in JSON, and the limit is %d. Shorten it.", d.Field.Name, size, job.MaxRecorded))}
	}
	r.defaults = append(r.defaults, d)
	return nil
}

// addDefault adds a default after Nomad's parser has read it.
func (r *Rule) addDefault(name string, item sidecar.Item, at hcl.Range, attrs []*hcl.Attribute) hcl.Diagnostics {
	f := job.FindDefaultField(name)
	raw, err := parsedDefault(f, sidecar.Body{item})
	if err == nil {
		d := &job.Default{Field: f, Rule: r.Name, Item: item, JSON: raw, Range: at}
		if f.Name == "constraint" {
			if bad := r.constraintKey(d, item.(*sidecar.Block)); bad != nil {
				return hcl.Diagnostics{bad}
			}
		}
		return r.keep(d)
	}
	// Nomad's parser gives no position in the policy: find the attribute.
	for _, a := range attrs {
		one, _ := constant(a)
		body := sidecar.Body{one}
		if f.Block {
			body = sidecar.Body{&sidecar.Block{Type: name, Body: body}}
		}
		if _, alone := parsedDefault(f, body); alone != nil {
			at, err = a.Expr.Range(), alone
			break
		}
	}
	return hcl.Diagnostics{diagnostic.Error(at, "Invalid default", fmt.Sprintf("Nomad cannot read this value for %s: %s Write it as in a job file.", name, sentenceOf(err)))}
}

// sentenceOf returns the message of Nomad's parser without the position, which is in no file.
func sentenceOf(err error) string {
	text := err.Error()
	if _, after, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "default:") {
		text = after
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ".") + "."
}

// parsedDefault returns the value of a field as Nomad's parser writes it in JSON.
func parsedDefault(f *job.DefaultField, body sidecar.Body) ([]byte, error) {
	text := body.HCL(sidecar.Style{})
	inGroup, inTask := text, ""
	if f.Task {
		inGroup, inTask = "", text
	}
	src := "job \"j\" {\ngroup \"g\" {\n" + inGroup + "task \"t\" {\n" + inTask + "}\n}\n}\n"
	j, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "default", Body: []byte(src), Strict: true})
	if err != nil {
		return nil, err
	}
	of := reflect.ValueOf(j.TaskGroups[0])
	if f.Task {
		of = reflect.ValueOf(j.TaskGroups[0].Tasks[0])
	}
	v := of.Elem().FieldByName(f.API)
	if v.IsNil() {
		return nil, errors.New("it has no value")
	}
	if v.Kind() == reflect.Slice {
		v = v.Index(0)
	}
	return json.Marshal(v.Interface())
}

// Defaults returns the defaults of the rules that match a group. Orders reports undecided matches.
func (p *Policy) Defaults(j *job.Job, g *job.Group) []*job.Default {
	var out []*job.Default
	for _, r := range p.Rules {
		if len(r.defaults) == 0 {
			continue
		}
		if ok, _ := r.match.matches(j, g); ok {
			out = append(out, r.defaults...)
		}
	}
	return out
}

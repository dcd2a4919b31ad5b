package hcljob

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Apply applies edits and disables the sidecar blocks, so that `nomad job run` accepts the
// result. Every byte of the user's text is preserved: Eject of the result returns the file.
func (f *File) Apply(edits []job.Edit) ([]byte, hcl.Diagnostics) {
	p := newPatch(f.base, f.name)
	p.dropSidecars(f.job.Body)
	e := newEditor(f)
	for _, edit := range edits {
		if err := e.add(edit); err != nil {
			return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot edit the job", Detail: err.Error(), Subject: f.view.Range.Ptr()}}
		}
	}
	for _, block := range e.order {
		p.change(block, e.changes[block])
	}
	if p.diags.HasErrors() {
		return nil, p.diags
	}
	out := p.bytes()
	if !p.undone(out) {
		return nil, hcl.Diagnostics{diagnostic.Error(f.view.Range, "Cannot edit the job",
			"The injection could not be ejected from this file again, so nothing was injected. The likely cause are lines of the file that look like #sidecar comments; remove them.")}
	}
	return out, nil
}

// Plain returns the file without injected parts and with its sidecar blocks disabled: the same
// job, without any sidecar.
func (f *File) Plain() ([]byte, hcl.Diagnostics) { return f.Apply(nil) }

// change collects the edits of one block.
type change struct {
	blocks []*sidecar.Block // to append
	before *hclsyntax.Block // blocks go before this one; nil for the end
	env    map[string]string
	config map[string]*job.SetConfig
}

// editor finds the block for each edit.
type editor struct {
	job     *hclsyntax.Block
	view    *job.Job
	groups  map[string]*hclsyntax.Block
	changes map[*hclsyntax.Block]*change
	order   []*hclsyntax.Block
}

func newEditor(f *File) *editor {
	e := &editor{job: f.job, view: f.view, groups: map[string]*hclsyntax.Block{}, changes: map[*hclsyntax.Block]*change{}}
	for _, b := range f.job.Body.Blocks {
		if b.Type == "group" && len(b.Labels) == 1 {
			e.groups[b.Labels[0]] = b
		}
	}
	return e
}

func (e *editor) change(b *hclsyntax.Block) *change {
	c := e.changes[b]
	if c == nil {
		c = &change{env: map[string]string{}, config: map[string]*job.SetConfig{}}
		e.changes[b] = c
		e.order = append(e.order, b)
	}
	return c
}

func (e *editor) add(edit job.Edit) error {
	switch edit := edit.(type) {
	case *job.AddTask:
		return e.append(edit.Group, edit.Task)
	case *job.AddService:
		return e.append(edit.Group, edit.Service)
	case *job.AddVolume:
		return e.append(edit.Group, edit.Volume)
	case *job.AddPort:
		return e.port(edit)
	case *job.SetEnv:
		t, err := e.task(edit.Group, edit.Task)
		if err == nil {
			e.change(t).env[edit.Name] = edit.Value
		}
		return err
	case *job.SetConfig:
		t, err := e.task(edit.Group, edit.Task)
		if err == nil {
			e.change(t).config[edit.Name] = edit
		}
		return err
	case *job.AddAppBlock:
		t, err := e.task(edit.Group, edit.Task)
		if err == nil {
			c := e.change(t)
			c.blocks = append(c.blocks, edit.Block)
		}
		return err
	}
	return fmt.Errorf("unknown edit %T", edit)
}

func (e *editor) append(group string, b *sidecar.Block) error {
	g := e.groups[group]
	if g == nil {
		return fmt.Errorf("the job has no group %q", group)
	}
	c := e.change(g)
	c.blocks, c.before = append(c.blocks, b), firstProxy(g, e.view.Group(group))
	return nil
}

func (e *editor) port(edit *job.AddPort) error {
	g := e.groups[edit.Group]
	if g == nil {
		return fmt.Errorf("the job has no group %q", edit.Group)
	}
	i := slices.IndexFunc(g.Body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "network" })
	if i < 0 {
		return fmt.Errorf("group %q has no network", edit.Group)
	}
	port := &sidecar.Block{Type: "port", Labels: []string{edit.Label}}
	if edit.To > 0 {
		port.Body = sidecar.Body{&sidecar.Attr{Name: "to", Value: cty.NumberIntVal(int64(edit.To))}}
	}
	c := e.change(g.Body.Blocks[i])
	c.blocks, c.before = append(c.blocks, port), firstMapped(g.Body.Blocks[i], e.view.Group(edit.Group).Networks[0])
	return nil
}

func (e *editor) task(group, task string) (*hclsyntax.Block, error) {
	if g := e.groups[group]; g != nil {
		for _, b := range g.Body.Blocks {
			if b.Type == "task" && len(b.Labels) == 1 && b.Labels[0] == task {
				return b, nil
			}
		}
	}
	return nil, fmt.Errorf("the job has no task %q in group %q", task, group)
}

// dropSidecars disables the sidecar blocks of the job and its groups.
func (p *patch) dropSidecars(body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		switch b.Type {
		case "sidecar":
			p.keep(b.Range())
		case "group":
			p.dropSidecars(b.Body)
		}
	}
}

// change edits one block: env and config are added to their own blocks if present, everything
// else at the end.
func (p *patch) change(b *hclsyntax.Block, c *change) {
	var rest sidecar.Body
	if len(c.env) > 0 && !p.env(b, c.env) {
		rest = append(rest, &sidecar.Block{Type: "env", Body: envBody(c.env)})
	}
	if len(c.config) > 0 && !p.config(b, c.config) {
		rest = append(rest, &sidecar.Block{Type: "config", Body: configBody(c.config)})
	}
	for _, blk := range c.blocks {
		rest = append(rest, blk)
	}
	if c.before != nil && p.precede(c.before, rest) {
		return
	}
	if len(rest) > 0 {
		p.extend(b, rest, "")
	}
}

// env adds variables to the env block or attribute of a task. It returns false if there is none.
func (p *patch) env(task *hclsyntax.Block, env map[string]string) bool {
	if a := task.Body.Attributes["env"]; a != nil {
		indent := p.indent(a.SrcRange)
		s := p.style
		s.Indent, s.Heredoc = indent, false
		values := map[string]cty.Value{}
		for k, v := range env {
			values[k] = cty.StringVal(v)
		}
		was := strings.TrimSpace(string(p.src[a.EqualsRange.End.Byte:a.SrcRange.End.Byte]))
		p.replace(a.SrcRange, indent,
			indent+"env = merge("+was+p.made(", "+sidecar.Value(cty.ObjectVal(values), s)+")\n"))
		return true
	}
	for _, b := range task.Body.Blocks {
		if b.Type == "env" {
			p.extend(b, envBody(env), "")
			return true
		}
	}
	return false
}

// config sets attributes in the config block of a task. It returns false if there is none.
func (p *patch) config(task *hclsyntax.Block, config map[string]*job.SetConfig) bool {
	for _, b := range task.Body.Blocks {
		if b.Type != "config" {
			continue
		}
		added := configBody(config)
		if p.oneLine(b) {
			replaced := ""
			for name := range b.Body.Attributes {
				if _, ok := config[name]; ok {
					replaced = name
				}
			}
			p.extend(b, added, replaced)
			return true
		}
		var rest sidecar.Body
		for _, it := range added {
			attr, ok := it.(*sidecar.Attr)
			if !ok || b.Body.Attributes[attr.Name] == nil {
				rest = append(rest, it)
				continue
			}
			was := b.Body.Attributes[attr.Name]
			s := p.style
			s.Indent = p.indent(was.SrcRange)
			p.replace(was.SrcRange, s.Indent, p.made(sidecar.Body{attr}.HCL(s)))
		}
		if len(rest) > 0 {
			p.extend(b, rest, "")
		}
		return true
	}
	return false
}

func envBody(env map[string]string) sidecar.Body {
	var body sidecar.Body
	for _, name := range slices.Sorted(maps.Keys(env)) {
		body = append(body, &sidecar.Attr{Name: name, Value: cty.StringVal(env[name])})
	}
	return body
}

func configBody(config map[string]*job.SetConfig) sidecar.Body {
	var body sidecar.Body
	for _, name := range slices.Sorted(maps.Keys(config)) {
		v := config[name].Value
		if !config[name].Block {
			body = append(body, &sidecar.Attr{Name: name, Value: v})
			continue
		}
		block := &sidecar.Block{Type: name}
		items := v.AsValueMap()
		for _, key := range slices.Sorted(maps.Keys(items)) {
			block.Body = append(block.Body, &sidecar.Attr{Name: key, Value: items[key]})
		}
		body = append(body, block)
	}
	return body
}

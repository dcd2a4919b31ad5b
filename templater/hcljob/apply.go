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
	if lost := f.CheckDefaults(edits); lost.HasErrors() {
		return nil, lost
	}
	return f.apply(edits)
}

func (f *File) apply(edits []job.Edit) ([]byte, hcl.Diagnostics) {
	p := newPatch(f.base, f.name)
	p.dropSidecars(f.job.Body)
	e := newEditor(f)
	for _, edit := range edits {
		if err := e.add(edit); err != nil {
			return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot edit the job", Detail: err.Error(), Subject: f.view.Range.Ptr()}}
		}
	}
	for _, c := range e.order {
		p.change(c)
	}
	for _, c := range e.proxies {
		p.proxy(c)
	}
	for _, c := range e.ownProxies {
		p.ownProxy(c)
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
// job, without any sidecar or default.
func (f *File) Plain() ([]byte, hcl.Diagnostics) { return f.apply(nil) }

// change collects the edits of one block.
type change struct {
	block  block
	attrs  []*sidecar.Attr  // to append
	blocks []*sidecar.Block // to append
	before *hclsyntax.Block // blocks go before this one; nil for the end
	env    map[string]string
	meta   map[string]string
	config map[string]*job.SetConfig
}

// editor finds the block for each edit.
type editor struct {
	view    *job.Job
	groups  map[string]block
	changes map[*hclsyntax.Block]*change // by the text of the block
	order   []*change
	// proxies are the connect blocks to change, ownProxies the tasks of such proxies in the file.
	proxies, ownProxies []proxyChange
}

func newEditor(f *File) *editor {
	e := &editor{view: f.view, groups: map[string]block{}, changes: map[*hclsyntax.Block]*change{}}
	for _, b := range f.reader.blocks(f.job.Body) {
		if b.Type == "group" && len(b.Labels) == 1 {
			e.groups[b.Labels[0]] = b
		}
	}
	return e
}

func (e *editor) change(b block) *change {
	c := e.changes[b.text]
	if c == nil {
		c = &change{block: b, env: map[string]string{}, meta: map[string]string{}, config: map[string]*job.SetConfig{}}
		e.changes[b.text] = c
		e.order = append(e.order, c)
	}
	return c
}

// group returns the block of a group.
func (e *editor) group(name string) (block, error) {
	g, ok := e.groups[name]
	if !ok {
		return block{}, fmt.Errorf("the job has no group %q", name)
	}
	return g, once(g)
}

// once returns an error if the text of a block stands for several blocks.
func once(b block) error {
	if b.in.repeated != nil {
		return fmt.Errorf("%s %q comes from dynamic %q, whose content stands for several blocks", b.Type, strings.Join(b.Labels, " "), madeBy(b.in.repeated))
	}
	return nil
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
	case *job.SetDefaults:
		return e.setDefaults(edit)
	case *job.AddAppBlock:
		t, err := e.task(edit.Group, edit.Task)
		if err == nil {
			c := e.change(t)
			c.blocks = append(c.blocks, edit.Block)
		}
		return err
	case *job.SetProxy:
		return e.setProxy(edit)
	}
	return fmt.Errorf("unknown edit %T", edit)
}

func (e *editor) append(group string, b *sidecar.Block) error {
	g, err := e.group(group)
	if err != nil {
		return err
	}
	c := e.change(g)
	c.blocks, c.before = append(c.blocks, b), firstProxy(g, e.view.Group(group))
	return nil
}

func (e *editor) port(edit *job.AddPort) error {
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	networks := g.in.blocks(g.Body)
	i := slices.IndexFunc(networks, func(b block) bool { return b.Type == "network" })
	if i < 0 {
		return fmt.Errorf("group %q has no network", edit.Group)
	}
	if err := once(networks[i]); err != nil {
		return err
	}
	port := &sidecar.Block{Type: "port", Labels: []string{edit.Label}}
	if edit.To > 0 {
		port.Body = sidecar.Body{&sidecar.Attr{Name: "to", Value: cty.NumberIntVal(int64(edit.To))}}
	}
	c := e.change(networks[i])
	c.blocks, c.before = append(c.blocks, port), firstMapped(networks[i], e.view.Group(edit.Group).Networks[0])
	return nil
}

func (e *editor) task(group, task string) (block, error) {
	if g, ok := e.groups[group]; ok {
		for _, b := range g.in.blocks(g.Body) {
			if b.Type == "task" && len(b.Labels) == 1 && b.Labels[0] == task {
				return b, once(b)
			}
		}
	}
	return block{}, fmt.Errorf("the job has no task %q in group %q", task, group)
}

// dropSidecars disables the sidecar blocks of the job and its groups.
func (p *patch) dropSidecars(body *hclsyntax.Body) {
	for _, b := range sidecarBlocks(body) {
		p.keep(b.Range())
	}
}

// sidecarBlocks returns the sidecar blocks of the job and its groups.
func sidecarBlocks(body *hclsyntax.Body) []*hclsyntax.Block {
	var out []*hclsyntax.Block
	for _, b := range body.Blocks {
		switch {
		case madeBy(b) == "sidecar":
			out = append(out, b)
		case b.Type == "group", b.Type == "content", madeBy(b) == "group":
			out = append(out, sidecarBlocks(b.Body)...)
		}
	}
	return out
}

// change edits one block: env, meta and config are added to their own blocks if present, everything
// else at the end.
func (p *patch) change(c *change) {
	var rest sidecar.Body
	for _, a := range c.attrs {
		rest = append(rest, a)
	}
	if len(c.env) > 0 && !p.texts(c.block, "env", c.env) {
		rest = append(rest, &sidecar.Block{Type: "env", Body: envBody(c.env)})
	}
	if len(c.meta) > 0 && !p.texts(c.block, "meta", c.meta) {
		rest = append(rest, &sidecar.Block{Type: "meta", Body: envBody(c.meta)})
	}
	if len(c.config) > 0 && !p.config(c.block, c.config) {
		rest = append(rest, &sidecar.Block{Type: "config", Body: configBody(c.config)})
	}
	for _, blk := range c.blocks {
		rest = append(rest, blk)
	}
	if c.before != nil && p.precede(c.block, c.before, rest) {
		return
	}
	if len(rest) > 0 {
		p.extend(c.block, rest, "")
	}
}

// texts adds texts to the env or meta of a task or group, a block or an attribute. It returns false if
// there is none.
func (p *patch) texts(task block, name string, texts map[string]string) bool {
	if a := task.Body.Attributes[name]; a != nil {
		p.checkIterators(task, envBody(texts))
		indent := p.indent(a.SrcRange)
		s := p.style
		s.Indent, s.Heredoc = indent, false
		values := map[string]cty.Value{}
		for k, v := range texts {
			values[k] = cty.StringVal(v)
		}
		was := strings.TrimSpace(string(p.src[a.EqualsRange.End.Byte:a.SrcRange.End.Byte]))
		p.replace(a.SrcRange, indent,
			indent+name+" = merge("+was+p.made(", "+sidecar.Value(cty.ObjectVal(values), s)+")\n"))
		return true
	}
	var blocks []block
	for _, b := range task.in.blocks(task.Body) {
		if b.Type == name {
			blocks = append(blocks, b)
		}
	}
	if len(blocks) == 0 {
		return false
	}
	for i, b := range blocks {
		own := map[string]string{}
		for k, v := range texts {
			if n := slices.IndexFunc(blocks, func(b block) bool { return b.Body.Attributes[k] != nil }); max(n, 0) == i {
				own[k] = v
			}
		}
		p.set(b, envBody(own))
	}
	return true
}

// config sets attributes in the config block of a task. It returns false if there is none.
func (p *patch) config(task block, config map[string]*job.SetConfig) bool {
	for _, b := range task.in.blocks(task.Body) {
		if b.Type != "config" {
			continue
		}
		p.set(b, configBody(config))
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

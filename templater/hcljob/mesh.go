package hcljob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// first returns the first block of a type, or nil. A dynamic block that cannot be expanded counts.
func (r *reader) first(body *hclsyntax.Body, blockType string) *block {
	for _, b := range r.blocks(body) {
		if b.kind() == blockType {
			return &b
		}
	}
	return nil
}

// mesh reads the connect block of a service of a group.
func (r *reader) mesh(service block) *job.Mesh {
	connect := r.first(service.Body, "connect")
	if connect == nil {
		return nil
	}
	m := &job.Mesh{Unknown: connect.unknown, Bare: job.Bare{}, Range: connect.DefRange()}
	if m.Unknown != nil {
		return m
	}
	r = connect.in
	proxy, gateway, task := r.first(connect.Body, "sidecar_service"), r.first(connect.Body, "gateway"), r.first(connect.Body, "sidecar_task")
	for _, b := range []*block{proxy, gateway, task} {
		if b != nil {
			m.Unknown = cmp.Or(m.Unknown, b.unknown)
		}
	}
	switch {
	case m.Unknown != nil:
	case proxy != nil:
		m.Kind = "connect-proxy"
	case gateway != nil:
		m.Kind = gateway.in.gateway(gateway.Body)
	}
	if m.Kind == "" && m.Unknown == nil {
		return nil // native, or invalid
	}
	if task != nil && m.Unknown == nil {
		task.in.proxyTask(m, *task)
	}
	for _, b := range []block{service, *connect} {
		if b.in.repeated != nil && len(m.Opaque) == 0 {
			m.Opaque = append(m.Opaque, b.obstacle())
		}
	}
	return m
}

// gateway returns the kind of a gateway's task, or "" for none.
func (r *reader) gateway(body *hclsyntax.Body) string {
	for _, kind := range []string{"ingress", "terminating", "mesh"} {
		if r.first(body, kind) != nil {
			return "connect-" + kind
		}
	}
	return ""
}

func (r *reader) proxyTask(m *job.Mesh, task block) {
	m.HasTask = true
	r.text(task.Body, "driver", &m.Driver)
	meta := r.first(task.Body, "meta")
	if meta != nil && meta.unknown == nil && len(meta.Body.Attributes) == 0 {
		m.Bare["Meta"] = job.BareEmpty
	}
	if config := r.first(task.Body, "config"); config != nil {
		if m.MoreConfig = config.unknown; m.MoreConfig == nil {
			m.Config = slices.Sorted(maps.Keys(config.Body.Attributes))
		}
		if m.MoreConfig == nil && len(m.Config)+len(config.Body.Blocks) == 0 {
			m.Bare["Config"] = job.BareEmpty
		}
	}
}

// proxyMarked reports whether the sidecar_task of a service has the mark of an injection.
func proxyMarked(service block) bool {
	at := &service
	for _, blockType := range []string{"connect", "sidecar_task", "meta"} {
		if at = at.in.first(at.Body, blockType); at == nil || at.unknown != nil {
			return false
		}
	}
	return at.Body.Attributes[job.MarkProxy] != nil
}

// setProxy finds the blocks that change.
func (e *editor) setProxy(edit *job.SetProxy) error {
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	var services []block
	for _, b := range g.in.blocks(g.Body) {
		if b.Type == "service" {
			services = append(services, b)
		}
	}
	if edit.Service.Mesh.Index >= len(services) {
		return fmt.Errorf("group %q has no service %q", edit.Group, edit.Service.Name)
	}
	service := services[edit.Service.Mesh.Index]
	connect := service.in.first(service.Body, "connect")
	if connect == nil {
		return fmt.Errorf("service %q of group %q has no connect block", edit.Service.Name, edit.Group)
	}
	for _, b := range []*block{&service, connect} {
		if err := once(*b); err != nil {
			return err
		}
	}
	e.proxies = append(e.proxies, proxyChange{edit, *connect, connect.in.first(connect.Body, "sidecar_task")})
	if edit.Task == "" {
		return nil
	}
	t, err := e.task(edit.Group, edit.Task)
	if err == nil {
		e.ownProxies = append(e.ownProxies, proxyChange{edit, t, nil})
	}
	return err
}

// proxyChange is a block to change for a SetProxy: a connect block with its sidecar_task, which may
// be nil, or a task.
type proxyChange struct {
	*job.SetProxy
	block block
	task  *block
}

// proxy adds the driver, the config and the mark to sidecar_task.
func (p *patch) proxy(c proxyChange) {
	if c.task == nil {
		p.extend(c.block, sidecar.Body{c.Block()}, "")
		return
	}
	rest := sidecar.Body{&sidecar.Attr{Name: "driver", Value: cty.StringVal(c.Driver)}}
	if config := c.ConfigBlock(); config != nil {
		if b := c.task.in.first(c.task.Body, "config"); b != nil {
			p.set(*b, config.Body)
		} else {
			rest = append(rest, config)
		}
	}
	meta := c.MetaBlock()
	if b := c.task.in.first(c.task.Body, "meta"); b != nil {
		p.extend(*b, meta.Body, "")
	} else {
		rest = append(rest, meta)
	}
	p.set(*c.task, rest)
}

// ownProxy changes the task of a proxy that the file itself has.
func (p *patch) ownProxy(c proxyChange) {
	values := map[string]string{job.MarkProxy: c.Mark.Text()}
	rest := sidecar.Body{&sidecar.Attr{Name: "driver", Value: cty.StringVal(c.Driver)}}
	if !p.texts(c.block, "meta", values) {
		rest = append(rest, &sidecar.Block{Type: "meta", Body: envBody(values)})
	}
	p.set(c.block, rest)
}

// set adds a body to a block, and replaces attributes of the same name.
func (p *patch) set(b block, body sidecar.Body) {
	replaced := ""
	var rest sidecar.Body
	for _, it := range body {
		attr, ok := it.(*sidecar.Attr)
		switch {
		case !ok || b.Body.Attributes[attr.Name] == nil:
			rest = append(rest, it)
		case p.oneLine(b.text):
			replaced = attr.Name
			rest = append(rest, it)
		default:
			p.checkIterators(b, sidecar.Body{attr})
			was := b.Body.Attributes[attr.Name]
			s := p.style
			s.Indent = p.indent(was.SrcRange)
			p.replace(was.SrcRange, s.Indent, p.made(sidecar.Body{attr}.HCL(s)))
		}
	}
	if len(rest) > 0 {
		p.extend(b, rest, replaced)
	}
}

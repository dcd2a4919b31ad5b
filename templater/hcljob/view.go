package hcljob

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

const outJSON = "Use -out json, which works on the evaluated job."

// readJob reads the parts that injection needs, and ignores the rest.
func (f *File) readJob() (*job.Job, hcl.Diagnostics) {
	r := &reader{scope: f.scope}
	body := f.job.Body
	label := job.Text{Value: f.job.Labels[0]}
	j := &job.Job{
		ID: label, Name: label, Namespace: job.Text{Value: "default"}, Type: job.Text{Value: "service"},
		Region: job.Text{Value: "global"}, NodePool: job.Text{Value: "default"}, Range: f.job.DefRange(),
	}
	j.Meta, j.MoreMeta = r.texts(body, "meta")
	for name, into := range map[string]*job.Text{"id": &j.ID, "name": &j.Name, "namespace": &j.Namespace, "type": &j.Type, "region": &j.Region, "node_pool": &j.NodePool} {
		r.text(body, name, into)
	}
	r.datacenters(j, body)
	for _, b := range body.Blocks {
		switch b.Type {
		case "sidecar":
			j.Requests = r.request(j.Requests, b)
		case "group":
			if r.labelled(b) {
				j.Groups = append(j.Groups, r.group(b))
			}
		case "task":
			if r.labelled(b) {
				j.Groups = append(j.Groups, r.loneTask(b))
			}
		case "vault", "secret":
			j.Inherited = append(j.Inherited, r.block(b))
		case "dynamic":
			r.noDynamicSidecar(b)
			if len(b.Labels) == 1 && (b.Labels[0] == "group" || b.Labels[0] == "task") {
				r.noSidecars(b.Body)
				j.Opaque = append(j.Opaque, obstacle(fmt.Sprintf("dynamic %q", b.Labels[0]), b))
			}
		}
	}
	return j, r.diags
}

// datacenters reads the datacenters; the default is all.
func (r *reader) datacenters(j *job.Job, body *hclsyntax.Body) {
	everywhere := []job.Text{{Value: "*"}}
	a := body.Attributes["datacenters"]
	if a == nil {
		j.Datacenters = everywhere
		return
	}
	v, u := r.scope.read(a.Expr)
	switch tuple, ok := a.Expr.(*hclsyntax.TupleConsExpr); {
	case ok:
		for _, e := range tuple.Exprs {
			v, u := r.scope.read(e)
			j.Datacenters = append(j.Datacenters, textOf(v, u, e.Range()))
		}
	case v.IsKnown() && !v.IsNull() && v.CanIterateElements():
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			j.Datacenters = append(j.Datacenters, textOf(e, u, a.SrcRange))
		}
	default:
		j.MoreDatacenters = u
	}
	if len(j.Datacenters) == 0 && j.MoreDatacenters == nil {
		j.Datacenters = everywhere
	}
}

func obstacle(what string, b *hclsyntax.Block) job.Obstacle {
	return job.Obstacle{What: what, WayOut: outJSON, Range: b.DefRange()}
}

// reader collects diagnostics while it reads a job.
type reader struct {
	scope *scope
	diags hcl.Diagnostics
}

func (r *reader) labelled(b *hclsyntax.Block) bool {
	if len(b.Labels) == 1 {
		return true
	}
	r.diags = append(r.diags, diagnostic.Error(b.DefRange(), "Invalid "+b.Type+" block", fmt.Sprintf("A %s block has one label, its name: %s \"name\" { … }.", b.Type, b.Type)))
	return false
}

func (r *reader) group(b *hclsyntax.Block) *job.Group {
	g := &job.Group{
		Name: b.Labels[0], Count: cty.NumberIntVal(1),
		Volumes: map[string]hcl.Range{}, Range: b.DefRange(),
		Disk: job.Disk{SizeMB: job.DefaultDiskMB, Range: b.DefRange()},
	}
	g.Meta, g.MoreMeta = r.texts(b.Body, "meta")
	r.count(g, b)
	for _, c := range b.Body.Blocks {
		switch c.Type {
		case "sidecar":
			g.Requests = r.request(g.Requests, c)
		case "network":
			g.Networks = append(g.Networks, r.network(g, c))
		case "service":
			g.Services = append(g.Services, r.service(c))
		case "volume":
			if r.labelled(c) {
				g.Volumes[c.Labels[0]] = c.DefRange()
			}
		case "task":
			if r.labelled(c) {
				g.Add(r.task(g, c))
			}
		case "ephemeral_disk":
			if size, u := r.number(c.Body, "size"); size != 0 || u != nil {
				g.Disk = job.Disk{SizeMB: size, Unknown: u, Range: c.DefRange()}
			}
		case "vault", "secret":
			g.Inherited = append(g.Inherited, r.block(c))
		case "dynamic":
			r.noDynamicSidecar(c)
			g.Opaque, g.Dynamic = r.dynamic(g.Opaque, c, "task", "network", "service", "volume"), true
			if madeBy(c) == "ephemeral_disk" {
				g.Disk.Unknown = madeDynamically(c)
			}
		}
	}
	return g
}

// count reads the number of allocations of a group; the default is 1.
func (r *reader) count(g *job.Group, b *hclsyntax.Block) {
	a := b.Body.Attributes["count"]
	if a == nil {
		return
	}
	v, u := r.scope.read(a.Expr)
	if u == nil && v.IsNull() {
		return
	}
	g.Count, g.UnknownCount = cty.UnknownVal(cty.Number), u
	if n, err := convert.Convert(v, cty.Number); err == nil {
		g.Count = n
	}
}

// dynamic records a dynamic block that generates something injection needs.
func (r *reader) dynamic(to []job.Obstacle, b *hclsyntax.Block, kinds ...string) []job.Obstacle {
	for _, kind := range kinds {
		if len(b.Labels) == 1 && b.Labels[0] == kind {
			return append(to, obstacle(fmt.Sprintf("dynamic %q", kind), b))
		}
	}
	return to
}

// loneTask returns the group of a task directly below job, which Nomad creates.
func (r *reader) loneTask(b *hclsyntax.Block) *job.Group {
	g := &job.Group{
		Name: b.Labels[0], Count: cty.NumberIntVal(1), Volumes: map[string]hcl.Range{}, Range: b.DefRange(),
		Opaque: []job.Obstacle{{
			What: "no group block around its task", Range: b.DefRange(),
			WayOut: fmt.Sprintf("Put the task into group %q { … }, or use -out json.", b.Labels[0]),
		}},
	}
	g.Tasks = []*job.Task{r.task(g, b)}
	return g
}

func (r *reader) network(g *job.Group, b *hclsyntax.Block) *job.Network {
	n := &job.Network{Mode: job.Text{Value: "host"}, Range: b.DefRange(), Ports: r.ports(b)}
	r.text(b.Body, "mode", &n.Mode)
	for _, c := range b.Body.Blocks {
		if c.Type == "dynamic" {
			g.Opaque = r.dynamic(g.Opaque, c, "port")
		}
	}
	return n
}

func (r *reader) ports(network *hclsyntax.Block) []job.Port {
	var ports []job.Port
	for _, b := range network.Body.Blocks {
		if b.Type == "port" && r.labelled(b) {
			p := job.Port{Label: b.Labels[0], Range: b.DefRange()}
			p.To, p.Unknown = r.number(b.Body, "to")
			var u *diagnostic.Unknown
			if p.Static, u = r.number(b.Body, "static"); p.To == 0 && p.Unknown == nil {
				p.Unknown = u // the port inside is the static one
			}
			ports = append(ports, p)
		}
	}
	return ports
}

func (r *reader) service(b *hclsyntax.Block) job.Service {
	s := job.Service{Provider: job.Text{Value: "consul"}, Range: b.DefRange()}
	if b.Type == "dynamic" {
		s.Provider.Unknown = madeDynamically(b)
		return s
	}
	r.text(b.Body, "name", &s.Name)
	r.text(b.Body, "port", &s.Port)
	r.text(b.Body, "provider", &s.Provider)
	return s
}

// noDynamicSidecar refuses sidecar blocks that a dynamic block generates.
func (r *reader) noDynamicSidecar(b *hclsyntax.Block) {
	if madeBy(b) == "sidecar" {
		r.diags = append(r.diags, diagnostic.Error(b.DefRange(), "Misplaced sidecar block",
			"A dynamic block cannot generate sidecar blocks. Write them out, or list their names in meta \"sidecar.inject\"."))
	}
}

// noSidecars refuses sidecar blocks in tasks and dynamic blocks, in which they have no meaning.
func (r *reader) noSidecars(body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		if b.Type == "sidecar" {
			r.diags = append(r.diags, diagnostic.Error(b.DefRange(), "Misplaced sidecar block",
				"A sidecar block belongs in a job or a group, not in a task or a dynamic block. Move it there; for groups generated by a dynamic block use meta \"sidecar.inject\"."))
		}
		if b.Type == "content" {
			r.noSidecars(b.Body)
		}
	}
}

// request reads a sidecar block: version, and one value for each parameter.
func (r *reader) request(to []*job.Request, b *hclsyntax.Block) []*job.Request {
	if !r.labelled(b) {
		return to
	}
	for _, c := range b.Body.Blocks {
		r.diags = append(r.diags, diagnostic.Error(c.DefRange(), "Invalid sidecar block",
			fmt.Sprintf("A sidecar block holds parameters only, as %s = … .", c.Type)))
	}
	req := &job.Request{Sidecar: b.Labels[0], Arguments: map[string]sidecar.Argument{}, Range: b.DefRange()}
	for name, a := range b.Body.Attributes {
		v, diags := bounds.Value(a.Expr, r.scope.ctx)
		if len(unknownCalls(a.Expr, r.scope.ctx.Functions)) > 0 {
			v, diags = cty.DynamicVal, nil
		}
		r.diags = append(r.diags, r.scope.explain(a.Expr, diags)...)
		if name != "version" {
			arg := sidecar.Argument{Value: v, Range: a.SrcRange, Safe: b.DefRange()}
			if !diags.HasErrors() && !v.IsWhollyKnown() {
				arg.Unknown = r.scope.reason(a.Expr, nil)
			}
			req.Arguments[name] = arg
			continue
		}
		s, err := convert.Convert(v, cty.String)
		if err == nil && !s.IsKnown() {
			r.diags = append(r.diags, r.scope.reason(a.Expr, nil).Error(fmt.Sprintf("The version of sidecar %q", b.Labels[0])))
			continue
		}
		if err != nil || s.IsNull() {
			r.diags = append(r.diags, diagnostic.Error(a.Expr.Range(), "Invalid version constraint", "version is a string such as \"~> 1.0\"."))
			continue
		}
		req.Constraint = s.AsString()
	}
	return append(to, req)
}

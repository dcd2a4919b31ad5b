package hcljob

import (
	"fmt"
	"slices"

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
	r := newReader(f.scope)
	f.reader = r
	body := f.job.Body
	label := job.Text{Value: f.job.Labels[0]}
	j := &job.Job{
		ID: label, Name: label, Namespace: job.Text{Value: "default"}, Type: job.Text{Value: "service"},
		Region: job.Text{Value: "global"}, NodePool: job.Text{Value: "default"}, Range: f.job.DefRange(),
	}
	j.Meta, j.MoreMeta = r.texts(body, "meta")
	j.TextRefs = r.scope.textRefs(nil, body)
	j.Written, j.Constraints = r.written(body), r.constraints(body)
	for name, into := range map[string]*job.Text{"id": &j.ID, "name": &j.Name, "namespace": &j.Namespace, "type": &j.Type, "region": &j.Region, "node_pool": &j.NodePool} {
		r.text(body, name, into)
	}
	r.datacenters(j, body)
	for _, b := range r.blocks(body) {
		switch kind := b.kind(); {
		case kind == "sidecar":
			j.Requests = r.request(j.Requests, b)
		case b.unknown != nil && (kind == "group" || kind == "task"):
			j.Opaque = append(j.Opaque, r.unexpandedGroup(b))
		case kind == "multiregion":
			j.Regions = append(j.Regions, b.in.regions(b)...)
		case b.unknown != nil:
		case kind == "group" && r.labelled(b.Block):
			j.Groups = append(j.Groups, b.in.group(b))
		case kind == "task" && r.labelled(b.Block):
			j.Groups = append(j.Groups, b.in.loneTask(b))
		case kind == "vault" || kind == "secret":
			j.Inherited = append(j.Inherited, b.in.block(b.Block))
		}
	}
	return j, *r.diags
}

// regions reads a multiregion block.
func (r *reader) regions(multiregion block) []job.Region {
	if multiregion.unknown != nil {
		return []job.Region{{Unknown: multiregion.unknown}}
	}
	var out []job.Region
	for _, b := range r.blocks(multiregion.Body) {
		switch {
		case b.kind() != "region":
		case b.unknown != nil:
			out = append(out, job.Region{Unknown: b.unknown})
		default:
			n, u := b.in.number(b.Body, "count")
			out = append(out, job.Region{Count: n, Unknown: u})
		}
	}
	return out
}

// unexpandedGroup returns the obstacle for a dynamic block that generates an unknown number of
// groups, with what all of them have in common.
func (r *reader) unexpandedGroup(b block) job.Obstacle {
	o := b.obstacle()
	if sample := r.sample(b.Block); sample != nil && b.kind() == "group" {
		o.Group = sample.in.group(*sample)
	} else if sample != nil {
		r.noSidecars(sample.Body)
	}
	return o
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

// reader collects diagnostics while it reads a job.
type reader struct {
	scope *scope
	diags *hcl.Diagnostics
	// repeated is the outermost dynamic block that generates several blocks from the text that
	// is being read; nil if there is none.
	repeated *hclsyntax.Block
	expanded map[*hclsyntax.Body][]block
}

func newReader(s *scope) *reader {
	return &reader{scope: s, diags: &hcl.Diagnostics{}, expanded: map[*hclsyntax.Body][]block{}}
}

// fail reports errors, once for a text that is read several times.
func (r *reader) fail(diags ...*hcl.Diagnostic) {
	for _, d := range diags {
		if !slices.ContainsFunc(*r.diags, func(o *hcl.Diagnostic) bool { return o.Error() == d.Error() }) {
			*r.diags = append(*r.diags, d)
		}
	}
}

func (r *reader) labelled(b *hclsyntax.Block) bool {
	if len(b.Labels) == 1 {
		return true
	}
	r.fail(diagnostic.Error(b.DefRange(), "Invalid "+b.Type+" block", fmt.Sprintf("A %s block has one label, its name: %s \"name\" { … }.", b.Type, b.Type)))
	return false
}

func (r *reader) group(b block) *job.Group {
	g := &job.Group{
		Name: b.Labels[0], Count: cty.NumberIntVal(1),
		Volumes: map[string]hcl.Range{}, Range: b.DefRange(),
		Disk: job.Disk{SizeMB: job.DefaultDiskMB, Range: b.DefRange()},
	}
	if g.Meta, g.MoreMeta = r.texts(b.Body, "meta"); r.isEmpty(b.Body, "meta") {
		g.Bare = job.Bare{"Meta": job.BareEmpty} // Nomad's parser keeps it, unlike other empty containers
	}
	g.Written, g.StrayMark, g.Constraints = r.written(b.Body), r.strayMark(b.Body), r.constraints(b.Body)
	r.count(g, b.Block)
	if r.repeated != nil {
		g.Opaque = append(g.Opaque, b.obstacle())
	}
	services := 0
	for _, c := range r.blocks(b.Body) {
		if c.unknown != nil {
			r.unexpandedPart(g, c)
			continue
		}
		switch c.Type {
		case "sidecar":
			g.Requests = r.request(g.Requests, c)
		case "network":
			g.Networks = append(g.Networks, c.in.network(g, c))
		case "service":
			s := c.in.service(c)
			if s.Mesh = c.in.mesh(c); s.Mesh != nil {
				s.Mesh.Index = services
			}
			services++
			g.Services = append(g.Services, s)
		case "volume":
			if r.labelled(c.Block) {
				g.Volumes[c.Labels[0]] = c.DefRange()
			}
		case "task":
			if r.labelled(c.Block) {
				g.Add(c.in.task(g, c))
			}
		case "ephemeral_disk":
			if size, u := c.in.number(c.Body, "size"); size != 0 || u != nil {
				g.Disk = job.Disk{SizeMB: size, Unknown: u, Range: c.DefRange()}
			}
		case "vault", "secret":
			g.Inherited = append(g.Inherited, c.in.block(c.Block))
		case "meta":
			g.Opaque = append(g.Opaque, c.in.unlessOnce(g, c)...)
		}
	}
	return g
}

// unexpandedPart records that a dynamic block generates parts of a group that are unknown.
func (r *reader) unexpandedPart(g *job.Group, c block) {
	switch c.kind() {
	case "sidecar":
		g.Requests = r.request(g.Requests, c)
	case "task":
		g.MoreTasks = c.unknown
		g.Opaque = append(g.Opaque, c.obstacle())
		if sample := r.sample(c.Block); sample != nil {
			r.noSidecars(sample.Body)
		}
	case "network":
		g.MoreNetworks = c.unknown
		g.Opaque = append(g.Opaque, c.obstacle())
	case "service":
		s := r.service(c)
		s.Mesh = &job.Mesh{Unknown: c.unknown, Range: c.DefRange()}
		g.Services = append(g.Services, s)
	case "volume":
		g.Opaque = append(g.Opaque, c.obstacle())
	case "ephemeral_disk":
		g.Disk.Unknown = c.unknown
	}
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

// loneTask returns the group of a task directly below job, which Nomad creates.
func (r *reader) loneTask(b block) *job.Group {
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

func (r *reader) network(g *job.Group, b block) *job.Network {
	n := &job.Network{Mode: job.Text{Value: "host"}, Range: b.DefRange(), Ports: r.ports(g, b)}
	r.text(b.Body, "mode", &n.Mode)
	g.Opaque = append(g.Opaque, r.unlessOnce(g, b)...)
	return n
}

// unlessOnce returns an obstacle if the text of a part of a group stands for several blocks.
func (r *reader) unlessOnce(g *job.Group, b block) []job.Obstacle {
	if r.repeated == nil || len(g.Opaque) > 0 {
		return nil
	}
	return []job.Obstacle{b.obstacle()}
}

func (r *reader) ports(g *job.Group, network block) []job.Port {
	var ports []job.Port
	for _, b := range r.blocks(network.Body) {
		switch {
		case b.kind() != "port":
		case b.unknown != nil:
			g.Opaque = append(g.Opaque, b.obstacle())
		case r.labelled(b.Block):
			p := job.Port{Label: b.Labels[0], Range: b.DefRange()}
			p.To, p.Unknown = b.in.number(b.Body, "to")
			var u *diagnostic.Unknown
			if p.Static, u = b.in.number(b.Body, "static"); p.To == 0 && p.Unknown == nil {
				p.Unknown = u // the port inside is the static one
			}
			ports = append(ports, p)
		}
	}
	return ports
}

func (r *reader) service(b block) job.Service {
	s := job.Service{Provider: job.Text{Value: "consul"}, Range: b.DefRange()}
	if b.unknown != nil {
		s.Provider.Unknown, s.Connect = b.unknown, true
		return s
	}
	r.text(b.Body, "name", &s.Name)
	r.text(b.Body, "port", &s.Port)
	r.text(b.Body, "provider", &s.Provider)
	s.Connect = slices.ContainsFunc(b.Body.Blocks, func(c *hclsyntax.Block) bool { return madeBy(c) == "connect" })
	return s
}

// noSidecars refuses sidecar blocks in a task, in which they have no meaning.
func (r *reader) noSidecars(body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		if madeBy(b) == "sidecar" {
			r.fail(diagnostic.Error(b.DefRange(), "Misplaced sidecar block", "A sidecar block belongs in a job or a group, not in a task. Move it there."))
		}
	}
}

// request reads a sidecar block: version, and one value for each parameter.
func (r *reader) request(to []*job.Request, b block) []*job.Request {
	if b.unknown != nil {
		r.fail(b.unknown.Error("The choice of sidecars"))
		return to
	}
	if !r.labelled(b.Block) {
		return to
	}
	r = b.in
	for _, c := range b.Body.Blocks {
		r.fail(diagnostic.Error(c.DefRange(), "Invalid sidecar block",
			fmt.Sprintf("A sidecar block holds the values of parameters, not blocks such as %s. Change the sidecar's task in its definition.", c.Type)))
	}
	req := &job.Request{Sidecar: b.Labels[0], Arguments: map[string]sidecar.Argument{}, Range: b.DefRange()}
	for name, a := range b.Body.Attributes {
		r.noLiteral(b.Labels[0], a)
		if arg, deferred := r.deferred(a, b.DefRange()); deferred && name != "version" {
			req.Arguments[name] = arg
			continue
		}
		v, diags := bounds.Value(a.Expr, r.scope.ctx)
		if len(unknownCalls(a.Expr, r.scope.ctx.Functions)) > 0 {
			v, diags = cty.DynamicVal, nil
		}
		r.fail(r.scope.explain(a.Expr, diags)...)
		if name != "version" {
			req.Arguments[name] = r.argument(a, b.DefRange(), v, diags)
			continue
		}
		s, err := convert.Convert(v, cty.String)
		if err == nil && !s.IsKnown() {
			r.fail(r.scope.reason(a.Expr, nil).Error(fmt.Sprintf("The version of sidecar %q", b.Labels[0])))
			continue
		}
		if err != nil || s.IsNull() {
			r.fail(diagnostic.Error(a.Expr.Range(), "Invalid version constraint", "version is a string such as \"~> 1.0\"."))
			continue
		}
		req.Constraint = s.AsString()
	}
	return append(to, req)
}

// argument returns the value of a parameter.
func (r *reader) argument(a *hclsyntax.Attribute, safe hcl.Range, v cty.Value, diags hcl.Diagnostics) sidecar.Argument {
	arg := sidecar.Argument{Value: v, Range: a.SrcRange, Safe: safe}
	if !diags.HasErrors() && !v.IsWhollyKnown() {
		arg.Unknown = r.scope.reason(a.Expr, nil)
	}
	return arg
}

// deferred returns the value of a parameter that depends on outputs of sidecars.
func (r *reader) deferred(a *hclsyntax.Attribute, safe hcl.Range) (arg sidecar.Argument, ok bool) {
	given, besides := sidecar.Argument{Range: a.SrcRange, Safe: safe}, []string(nil)
	if r.scope.iterators[sidecar.OutputRoot] != nil {
		besides = iteratorFields()
	}
	arg, ok, diags := sidecar.Deferred(a.Expr, r.scope.ctx, given, func(v cty.Value, diags hcl.Diagnostics) (sidecar.Argument, hcl.Diagnostics) {
		if len(unknownCalls(a.Expr, r.scope.ctx.Functions)) > 0 {
			v, diags = cty.DynamicVal, nil
		}
		return r.argument(a, safe, v, diags), r.scope.explain(a.Expr, diags)
	}, besides...)
	r.fail(diags...)
	return arg, ok
}

package hcljob

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

const outJSON = "Use -out json, which works on the evaluated job."

// readJob reads what injection needs to see, and leaves the rest alone.
func (f *File) readJob() (*job.Job, hcl.Diagnostics) {
	r := &reader{scope: f.scope}
	body := f.job.Body
	j := &job.Job{
		ID: f.job.Labels[0], Namespace: "default", Type: "service", Region: "global", NodePool: "default",
		Meta: r.texts(body, "meta"), Range: f.job.DefRange(),
	}
	for name, into := range map[string]*string{"id": &j.ID, "namespace": &j.Namespace, "type": &j.Type, "region": &j.Region, "node_pool": &j.NodePool} {
		r.text(body, name, into)
	}
	j.Name = f.job.Labels[0]
	r.text(body, "name", &j.Name)
	j.Datacenters = r.datacenters(body)
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
			if len(b.Labels) == 1 && (b.Labels[0] == "group" || b.Labels[0] == "task") {
				r.noSidecars(b.Body)
				j.Opaque = append(j.Opaque, obstacle(fmt.Sprintf("dynamic %q", b.Labels[0]), b))
			}
		}
	}
	return j, r.diags
}

// datacenters are all where none are set, or none are known yet.
func (r *reader) datacenters(body *hclsyntax.Body) []string {
	a := body.Attributes["datacenters"]
	if a == nil {
		return []string{"*"}
	}
	list, err := convert.Convert(r.scope.value(a.Expr), cty.List(cty.String))
	if err != nil || !list.IsWhollyKnown() || list.IsNull() || list.LengthInt() == 0 {
		return []string{"*"}
	}
	var out []string
	for _, v := range list.AsValueSlice() {
		if !v.IsNull() {
			out = append(out, v.AsString())
		}
	}
	return out
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
		Name: b.Labels[0], Count: cty.NumberIntVal(1), Meta: r.texts(b.Body, "meta"),
		Volumes: map[string]hcl.Range{}, Range: b.DefRange(),
		Disk: job.Disk{SizeMB: job.DefaultDiskMB, Range: b.DefRange()},
	}
	if a := b.Body.Attributes["count"]; a != nil {
		g.Count = cty.UnknownVal(cty.Number)
		if v, err := convert.Convert(r.scope.value(a.Expr), cty.Number); err == nil {
			g.Count = v
		}
	}
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
				g.Tasks = append(g.Tasks, r.task(g, c))
			}
		case "ephemeral_disk":
			if c.Body.Attributes["size"] != nil {
				g.Disk = job.Disk{SizeMB: r.number(c.Body, "size"), Range: c.DefRange()}
			}
		case "vault", "secret":
			g.Inherited = append(g.Inherited, r.block(c))
		case "dynamic":
			g.Opaque = r.dynamic(g.Opaque, c, "task", "network", "service", "volume")
		}
	}
	return g
}

// dynamic notes a dynamic block that makes something injection must see.
func (r *reader) dynamic(to []job.Obstacle, b *hclsyntax.Block, kinds ...string) []job.Obstacle {
	for _, kind := range kinds {
		if len(b.Labels) == 1 && b.Labels[0] == kind {
			return append(to, obstacle(fmt.Sprintf("dynamic %q", kind), b))
		}
	}
	return to
}

// loneTask is a task directly below job, which Nomad puts in a group of its own.
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
	n := &job.Network{Mode: "host", Range: b.DefRange(), Ports: r.ports(b)}
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
			ports = append(ports, job.Port{
				Label: b.Labels[0], To: r.number(b.Body, "to"), Static: r.number(b.Body, "static"), Range: b.DefRange(),
			})
		}
	}
	return ports
}

func (r *reader) service(b *hclsyntax.Block) job.Service {
	s := job.Service{Provider: "consul", Range: b.DefRange()}
	r.text(b.Body, "name", &s.Name)
	r.text(b.Body, "port", &s.Port)
	r.text(b.Body, "provider", &s.Provider)
	return s
}

func (r *reader) task(g *job.Group, b *hclsyntax.Block) *job.Task {
	t := &job.Task{
		Name: b.Labels[0], Env: r.texts(b.Body, "env"), Meta: r.texts(b.Body, "meta"),
		Config: map[string]job.Setting{}, Bare: job.Bare{}, Range: b.DefRange(),
	}
	// These two stay empty in Nomad's parser; all else that is empty becomes null.
	for field, name := range map[string]string{"Env": "env", "Config": "config"} {
		if r.isEmpty(b.Body, name) {
			t.Bare[field] = job.BareEmpty
		}
	}
	r.text(b.Body, "driver", &t.Driver)
	r.noSidecars(b.Body)
	for _, c := range b.Body.Blocks {
		switch c.Type {
		case "config":
			for name, a := range c.Body.Attributes {
				t.Config[name] = job.Setting{Value: r.scope.value(a.Expr), Range: a.SrcRange}
			}
			for _, n := range c.Body.Blocks {
				t.Config[madeBy(n)] = job.Setting{Value: cty.DynamicVal, Range: n.DefRange()}
			}
		case "logs", "dynamic":
			if madeBy(c) == "logs" {
				t.Logs = r.logs(c)
			}
		case "service":
			g.Services = append(g.Services, r.service(c))
		case "template", "volume_mount":
			at := job.Place{Block: c.Type, Range: c.DefRange()}
			if r.text(c.Body, "destination", &at.Destination); at.Destination != "" {
				t.Places = append(t.Places, at)
			}
		case "resources":
			for _, n := range c.Body.Blocks {
				if n.Type == "network" {
					t.Ports = append(t.Ports, r.ports(n)...)
				}
			}
		}
	}
	return t
}

// madeBy is the type of a block, or of what a dynamic block makes.
func madeBy(b *hclsyntax.Block) string {
	if b.Type == "dynamic" && len(b.Labels) == 1 {
		return b.Labels[0]
	}
	return b.Type
}

func (r *reader) logs(b *hclsyntax.Block) *job.Logs {
	l := &job.Logs{
		Files: r.number(b.Body, "max_files"), SizeMB: r.number(b.Body, "max_file_size"),
		Unknown: b.Type == "dynamic", Range: b.DefRange(),
	}
	for _, name := range []string{"max_files", "max_file_size", "disabled"} {
		a := b.Body.Attributes[name]
		if a == nil {
			continue
		}
		v := r.scope.value(a.Expr)
		l.Unknown = l.Unknown || !v.IsKnown()
		if off, err := convert.Convert(v, cty.Bool); name == "disabled" && err == nil && off.IsKnown() && !off.IsNull() {
			l.Disabled = off.True()
		}
	}
	return l
}

// noSidecars refuses sidecar blocks where they have no meaning.
func (r *reader) noSidecars(body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		if b.Type == "sidecar" {
			r.diags = append(r.diags, diagnostic.Error(b.DefRange(), "Misplaced sidecar block",
				"A sidecar block stands in a job or a group, not in a task or a dynamic block. Move it there; for groups made by a dynamic block use meta \"sidecar.inject\"."))
		}
		if b.Type == "content" {
			r.noSidecars(b.Body)
		}
	}
}

// request reads a sidecar block: version, and else one value for each parameter.
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
		r.diags = append(r.diags, r.scope.explain(a.Expr, diags)...)
		if name != "version" {
			req.Arguments[name] = sidecar.Argument{Value: v, Range: a.SrcRange, Safe: b.DefRange()}
			continue
		}
		s, err := convert.Convert(v, cty.String)
		if err != nil || s.IsNull() || !s.IsKnown() {
			r.diags = append(r.diags, diagnostic.Error(a.Expr.Range(), "Invalid version constraint", "version is a string such as \"~> 1.0\"."))
			continue
		}
		req.Constraint = s.AsString()
	}
	return append(to, req)
}

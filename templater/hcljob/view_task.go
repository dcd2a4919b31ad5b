package hcljob

import (
	"cmp"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

func (r *reader) task(g *job.Group, b block) *job.Task {
	t := &job.Task{
		Name: b.Labels[0], Config: map[string]job.Setting{}, Bare: job.Bare{}, Range: b.DefRange(),
	}
	t.Env, t.MoreEnv = r.texts(b.Body, "env")
	t.Meta, t.MoreMeta = r.texts(b.Body, "meta")
	t.Written, t.Constraints = r.written(b.Body), r.constraints(b.Body)
	r.vaultIdentity(b.Body, t.Written)
	// Nomad's parser keeps these two empty; all other empty containers become null.
	for field, name := range map[string]string{"Env": "env", "Config": "config"} {
		if r.isEmpty(b.Body, name) {
			t.Bare[field] = job.BareEmpty
		}
	}
	r.text(b.Body, "driver", &t.Driver)
	r.text(b.Body, "kind", &t.Kind)
	r.noSidecars(b.Body)
	g.Opaque = append(g.Opaque, r.unlessOnce(g, b)...)
	for _, c := range r.blocks(b.Body) {
		c.in.taskBlock(g, t, c)
	}
	return t
}

// taskBlock reads a block of a task.
func (r *reader) taskBlock(g *job.Group, t *job.Task, b block) {
	switch b.kind() {
	case "env":
		g.Opaque = append(g.Opaque, r.unlessOnce(g, b)...)
	case "config":
		if t.MoreConfig = b.unknown; b.unknown != nil {
			return
		}
		g.Opaque = append(g.Opaque, r.unlessOnce(g, b)...)
		for name, a := range b.Body.Attributes {
			v, u := r.scope.read(a.Expr)
			t.Config[name] = job.Setting{Value: v, Unknown: u, Range: a.SrcRange}
		}
		// Nomad does not expand dynamic blocks in config: they reach the driver as they are.
		for _, n := range b.Body.Blocks {
			t.Config[n.Type] = job.Setting{Value: cty.DynamicVal, Range: n.DefRange()}
		}
	case "lifecycle":
		if t.Hook.Unknown = b.unknown; b.unknown == nil {
			r.text(b.Body, "hook", &t.Hook)
		}
	case "logs":
		t.Logs = r.logs(b)
	case "service":
		g.Services = append(g.Services, r.service(b))
	case "template", "volume_mount":
		t.Destinations = append(t.Destinations, r.destination(b)...)
	case "resources":
		if b.unknown != nil {
			t.Ports = append(t.Ports, job.Port{Unknown: b.unknown, Range: b.DefRange()})
			return
		}
		for _, n := range r.blocks(b.Body) {
			switch {
			case n.kind() != "network":
			case n.unknown != nil:
				t.Ports = append(t.Ports, job.Port{Unknown: n.unknown, Range: n.DefRange()})
			default:
				t.Ports = append(t.Ports, n.in.ports(g, n)...)
			}
		}
	}
}

// destination returns the destination of a template or volume_mount, if any.
func (r *reader) destination(b block) []job.Destination {
	at := job.Destination{Block: b.kind(), Range: b.DefRange()}
	if b.unknown != nil {
		at.Path.Unknown = b.unknown
		return []job.Destination{at}
	}
	if r.text(b.Body, "destination", &at.Path); at.Path.Value == "" && at.Path.Unknown == nil {
		return nil
	}
	return []job.Destination{at}
}

func (r *reader) logs(b block) *job.Logs {
	l := &job.Logs{Range: b.DefRange()}
	if b.unknown != nil {
		l.Unknown = b.unknown
		return l
	}
	var files, size *diagnostic.Unknown
	l.Files, files = r.number(b.Body, "max_files")
	l.SizeMB, size = r.number(b.Body, "max_file_size")
	l.Unknown = cmp.Or(files, size)
	if a := b.Body.Attributes["disabled"]; a != nil {
		v, u := r.scope.read(a.Expr)
		l.Unknown = cmp.Or(l.Unknown, u)
		if off, err := convert.Convert(v, cty.Bool); err == nil && off.IsKnown() && !off.IsNull() {
			l.Disabled = off.True()
		}
	}
	return l
}

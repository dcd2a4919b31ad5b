package hcljob

import (
	"cmp"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

func (r *reader) task(g *job.Group, b *hclsyntax.Block) *job.Task {
	t := &job.Task{
		Name: b.Labels[0], Config: map[string]job.Setting{}, Bare: job.Bare{}, Range: b.DefRange(),
	}
	t.Env, t.MoreEnv = r.texts(b.Body, "env")
	t.Meta, t.MoreMeta = r.texts(b.Body, "meta")
	// Nomad's parser keeps these two empty; all other empty containers become null.
	for field, name := range map[string]string{"Env": "env", "Config": "config"} {
		if r.isEmpty(b.Body, name) {
			t.Bare[field] = job.BareEmpty
		}
	}
	r.text(b.Body, "driver", &t.Driver)
	r.text(b.Body, "kind", &t.Kind)
	r.noSidecars(b.Body)
	for _, c := range b.Body.Blocks {
		g.Dynamic = g.Dynamic || c.Type == "dynamic"
		r.taskBlock(g, t, c)
	}
	return t
}

// taskBlock reads a block of a task, or a dynamic block that generates one.
func (r *reader) taskBlock(g *job.Group, t *job.Task, b *hclsyntax.Block) {
	switch madeBy(b) {
	case "config":
		if b.Type == "dynamic" {
			t.MoreConfig = madeDynamically(b)
			return
		}
		for name, a := range b.Body.Attributes {
			v, u := r.scope.read(a.Expr)
			t.Config[name] = job.Setting{Value: v, Unknown: u, Range: a.SrcRange}
		}
		for _, n := range b.Body.Blocks {
			g.Dynamic = g.Dynamic || n.Type == "dynamic"
			t.Config[madeBy(n)] = job.Setting{Value: cty.DynamicVal, Range: n.DefRange()}
		}
	case "logs":
		t.Logs = r.logs(b)
	case "service":
		g.Services = append(g.Services, r.service(b))
	case "template", "volume_mount":
		t.Destinations = append(t.Destinations, r.destination(b)...)
	case "resources":
		for _, n := range b.Body.Blocks {
			if n.Type == "network" {
				t.Ports = append(t.Ports, r.ports(n)...)
			}
		}
	}
}

// destination returns the destination of a template or volume_mount, if any.
func (r *reader) destination(b *hclsyntax.Block) []job.Destination {
	at := job.Destination{Block: madeBy(b), Range: b.DefRange()}
	if b.Type == "dynamic" {
		at.Path.Unknown = madeDynamically(b)
		return []job.Destination{at}
	}
	if r.text(b.Body, "destination", &at.Path); at.Path.Value == "" && at.Path.Unknown == nil {
		return nil
	}
	return []job.Destination{at}
}

// madeBy returns the type of a block, or of the blocks that a dynamic block generates.
func madeBy(b *hclsyntax.Block) string {
	if b.Type == "dynamic" && len(b.Labels) == 1 {
		return b.Labels[0]
	}
	return b.Type
}

func (r *reader) logs(b *hclsyntax.Block) *job.Logs {
	l := &job.Logs{Range: b.DefRange()}
	if b.Type == "dynamic" {
		l.Unknown = madeDynamically(b)
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

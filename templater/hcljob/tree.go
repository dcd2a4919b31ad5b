package hcljob

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Tree returns the whole job with earlier injections. As Nomad's parser does, it puts a task
// outside of a group into a group of its own, and copies vault blocks of the job and its groups
// into the tasks.
func (f *File) Tree() (*job.Node, hcl.Diagnostics) {
	r, block := f.reader, f.job
	if !bytes.Equal(f.base, f.source) {
		whole, diags := hclsyntax.ParseConfig(f.source, f.given, hcl.InitialPos)
		if diags.HasErrors() {
			return nil, diags
		}
		if block, diags = jobBlock(whole); diags.HasErrors() {
			return nil, diags
		}
		s, diags := newScope(whole, f.inputs)
		if diags.HasErrors() {
			return nil, diags
		}
		r = newReader(s)
	}
	root := r.node(block.Type, block.Labels, block.Body, block.DefRange())
	if over := r.scope.budget.Exceeded(); over.HasErrors() {
		return nil, over
	}
	groupLoneTasks(root)
	groups, _ := root.All("group")
	for _, g := range groups {
		tasks, _ := g.All("task")
		for _, t := range tasks {
			inheritVault(t, g, root)
		}
	}
	return root, nil
}

// node reads a block with everything in it.
func (r *reader) node(typ string, labels []string, body *hclsyntax.Body, at hcl.Range) *job.Node {
	n := job.NewNode(typ, at)
	n.Labels = labels
	for name, a := range body.Attributes {
		v, u := r.scope.read(a.Expr)
		if s := (job.Setting{Value: v, Unknown: u, Range: a.SrcRange}); !n.Expand(name, s) && (u != nil || !v.IsNull()) {
			n.Attrs[name] = s
		}
		if name == "env" || name == "meta" {
			if _, more := r.texts(body, name); more != nil {
				n.MayHave(name, more)
			}
		}
	}
	if typ == "config" {
		r.configBlocks(n, body)
		return n
	}
	for _, b := range r.blocks(body) {
		if b.unknown != nil {
			n.MayHave(b.kind(), b.unknown)
			continue
		}
		n.Blocks = append(n.Blocks, b.in.node(b.Type, b.Labels, b.Body, b.DefRange()))
	}
	return n
}

// configBlocks reads the blocks of a driver config. Nomad expands no dynamic blocks there, so that they
// reach the driver as they are.
func (r *reader) configBlocks(n *job.Node, body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		c := job.NewNode(b.Type, b.DefRange())
		c.Labels = b.Labels
		for name, a := range b.Body.Attributes {
			v, u := r.scope.read(a.Expr)
			c.Attrs[name] = job.Setting{Value: v, Unknown: u, Range: a.SrcRange}
		}
		r.configBlocks(c, b.Body)
		n.Blocks = append(n.Blocks, c)
	}
}

func groupLoneTasks(root *job.Node) {
	for i, b := range root.Blocks {
		if b.Type != "task" {
			continue
		}
		g := job.NewNode("group", b.Range)
		g.Labels, g.Blocks = b.Labels, []*job.Node{b}
		g.Attrs["count"] = job.Setting{Value: cty.NumberIntVal(1), Range: b.Range}
		root.Blocks[i] = g
	}
	if why := root.More["task"]; why != nil {
		root.MayHave("group", why)
	}
}

func inheritVault(task *job.Node, from ...*job.Node) {
	for _, outer := range from {
		blocks, complete := outer.All("vault")
		if task.First("vault") == nil && len(blocks) > 0 {
			task.Blocks = append(task.Blocks, blocks[0])
		}
		if !complete {
			task.MayHave("vault", outer.More["vault"])
		}
	}
}

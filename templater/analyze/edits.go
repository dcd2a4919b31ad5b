package analyze

import (
	"maps"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// inject applies the edits of an injection to a copy of the parts of a tree that they change.
// Added parts have positions in the definitions.
func inject(root *job.Node, edits []job.Edit) *job.Node {
	t := &tree{root: copied(root), groups: map[string]*job.Node{}, tasks: map[[2]string]*job.Node{}}
	for i, b := range t.root.Blocks {
		if b.Type != "group" {
			continue
		}
		g := copied(b)
		t.root.Blocks[i], t.groups[g.Label()] = g, g
		for k, b := range g.Blocks {
			switch b.Type {
			case "task":
				g.Blocks[k] = copied(b)
				t.tasks[[2]string{g.Label(), b.Label()}] = g.Blocks[k]
			case "network":
				g.Blocks[k] = copied(b)
			}
		}
	}
	for _, e := range edits {
		t.apply(e)
	}
	return t.root
}

// copied returns a copy with attributes and a list of blocks that can be changed.
func copied(n *job.Node) *job.Node {
	out := *n
	out.Attrs, out.Blocks = maps.Clone(n.Attrs), slices.Clone(n.Blocks)
	return &out
}

type tree struct {
	root   *job.Node
	groups map[string]*job.Node
	tasks  map[[2]string]*job.Node // by group and task
}

func (t *tree) apply(e job.Edit) {
	switch e := e.(type) {
	case *job.AddTask:
		task := job.NodeOf(e.Task)
		for _, b := range slices.Concat(e.GroupInherited, e.JobInherited) {
			if b.Type == "vault" && task.First("vault") == nil {
				task.Blocks = append(task.Blocks, job.NodeOf(b))
			}
		}
		t.add(t.groups[e.Group], task)
	case *job.AddPort:
		if network := t.groups[e.Group].First("network"); network != nil {
			p := job.NewNode("port", network.Range)
			p.Labels = []string{e.Label}
			if e.To != 0 {
				p.Attrs["to"] = job.Setting{Value: cty.NumberIntVal(int64(e.To)), Range: network.Range}
			}
			network.Blocks = append(network.Blocks, p)
		}
	case *job.AddService:
		t.addBlock(t.groups[e.Group], e.Service)
	case *job.AddVolume:
		t.addBlock(t.groups[e.Group], e.Volume)
	case *job.AddAppBlock:
		t.addBlock(t.tasks[[2]string{e.Group, e.Task}], e.Block)
	case *job.SetDefaults:
		for _, v := range e.Values {
			t.setDefault(e.Group, v)
		}
	case *job.SetEnv:
		t.set(e.Group, e.Task, "env", e.Name, cty.StringVal(e.Value))
	case *job.SetConfig:
		t.set(e.Group, e.Task, "config", e.Name, e.Value)
	}
}

func (*tree) add(to, n *job.Node) {
	if to != nil {
		to.Blocks = append(to.Blocks, n)
	}
}

func (t *tree) addBlock(to *job.Node, b *sidecar.Block) { t.add(to, job.NodeOf(b)) }

// setDefault sets a default and removes the value of an earlier injection.
func (t *tree) setDefault(group string, v job.DefaultValue) {
	n := t.groups[group]
	if v.Field.Task {
		n = t.tasks[[2]string{group, v.Task}]
	}
	if n == nil {
		return
	}
	switch it := v.Item.(type) {
	case *sidecar.Attr:
		if v.Field.Keyed {
			setIn(n, v.Field.Name, it.Name, it.Value)
			break
		}
		n.Attrs[it.Name] = job.Setting{Value: it.Value, Range: it.Range}
	case *sidecar.Block:
		if !v.Field.Keyed {
			n.Blocks = slices.DeleteFunc(n.Blocks, func(b *job.Node) bool { return b.Type == it.Type })
		}
		n.Blocks = append(n.Blocks, job.NodeOf(it))
	}
	if v.Logs != cty.NilVal {
		setIn(n, "config", job.LogsSetting, v.Logs)
	}
}

// set sets an attribute in a block of a task.
func (t *tree) set(group, task, block, name string, v cty.Value) {
	n := t.tasks[[2]string{group, task}]
	if n != nil {
		setIn(n, block, name, v)
	}
}

// setIn sets an attribute in a block of a node.
func setIn(n *job.Node, block, name string, v cty.Value) {
	i := slices.IndexFunc(n.Blocks, func(b *job.Node) bool { return b.Type == block })
	if i < 0 {
		i = len(n.Blocks)
		n.Blocks = append(n.Blocks, job.NewNode(block, n.Range))
	}
	b := copied(n.Blocks[i])
	n.Blocks[i] = b
	b.Attrs[name] = job.Setting{Value: v, Range: b.Range}
	b.Blocks = slices.DeleteFunc(b.Blocks, func(c *job.Node) bool { return c.Type == name })
}

package jsonjob

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
)

// depths of containers below the job object, for layout.
const (
	inTaskGroups = 1
	inGroup      = 2
	inTasks      = 3 // also Services, Volumes, Networks
	inTask       = 4 // also a network
	inTaskField  = 5 // also DynamicPorts
)

// Apply carries out edits and returns the job.
func (f *File) Apply(edits []templater.Edit) ([]byte, hcl.Diagnostics) {
	if len(edits) == 0 {
		return f.bytes(), nil
	}
	c := *f
	c.made = fragments{}
	c.root, c.lead, c.rest, _ = parseJSON(f.bytes()) // was valid before
	c.job = c.root
	if f.depth == 1 {
		c.job = c.root.get("Job")
	}
	for _, e := range edits {
		if err := c.edit(e); err != nil {
			return nil, hcl.Diagnostics{errorAt(f.view.Range, "Cannot edit the job", err.Error())}
		}
	}
	return c.bytes(), nil
}

func (f *File) edit(e templater.Edit) error {
	switch e := e.(type) {
	case *templater.AddTask:
		raw, err := f.made.taskJSON(e)
		return f.addToGroup(e.Group, "Tasks", raw, err)
	case *templater.AddService:
		raw, err := f.made.serviceJSON(e.Service)
		return f.addToGroup(e.Group, "Services", raw, err)
	case *templater.AddVolume:
		return f.addVolume(e)
	case *templater.AddPort:
		return f.addPort(e)
	case *templater.SetEnv:
		raw, err := json.Marshal(e.Value)
		return f.setInTask(e.Group, e.Task, "Env", e.Name, raw, err)
	case *templater.SetConfig:
		raw, err := f.made.settingJSON(e)
		return f.setInTask(e.Group, e.Task, "Config", e.Name, raw, err)
	case *templater.AddAppBlock:
		return f.addAppBlock(e)
	}
	return fmt.Errorf("unknown edit %T", e)
}

// named finds the element of a list whose Name is name.
func named(list *node, name string) *node {
	for _, n := range list.elements() {
		if n.get("Name").str() == name {
			return n
		}
	}
	return nil
}

func (f *File) groupNode(name string) (*node, error) {
	if g := named(f.job.get("TaskGroups"), name); g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("the job has no group %q", name)
}

func (f *File) taskNode(group, task string) (*node, error) {
	g, err := f.groupNode(group)
	if err != nil {
		return nil, err
	}
	if t := named(g.get("Tasks"), task); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("the job has no task %q in group %q", task, group)
}

func (f *File) addToGroup(group, field string, raw []byte, err error) error {
	if err != nil {
		return err
	}
	g, err := f.groupNode(group)
	if err != nil {
		return err
	}
	l := f.layout(inTasks)
	list, err := g.container(field, '[', f.layout(inGroup))
	if err == nil {
		list.append(&item{value: parseValue(raw, l.deeper())}, l)
	}
	return err
}

func (f *File) addVolume(e *templater.AddVolume) error {
	raw, err := f.made.volumeJSON(e.Volume)
	if err != nil {
		return err
	}
	g, err := f.groupNode(e.Group)
	if err != nil {
		return err
	}
	l := f.layout(inTasks)
	volumes, err := g.container("Volumes", '{', f.layout(inGroup))
	if err == nil {
		volumes.put(e.Volume.Label(), parseValue(raw, l.deeper()), l)
	}
	return err
}

func (f *File) addPort(e *templater.AddPort) error {
	raw, err := portJSON(e)
	if err != nil {
		return err
	}
	g, err := f.groupNode(e.Group)
	if err != nil {
		return err
	}
	networks := g.get("Networks").elements()
	if len(networks) == 0 {
		return fmt.Errorf("group %q has no network", e.Group)
	}
	l := f.layout(inTaskField)
	list, err := networks[0].container("DynamicPorts", '[', f.layout(inTask))
	if err == nil {
		list.append(&item{value: parseValue(raw, l.deeper())}, l)
	}
	return err
}

func (f *File) setInTask(group, task, field, name string, raw []byte, err error) error {
	if err != nil {
		return err
	}
	t, err := f.taskNode(group, task)
	if err != nil {
		return err
	}
	l := f.layout(inTaskField)
	values, err := t.container(field, '{', f.layout(inTask))
	if err == nil {
		values.put(name, parseValue(raw, l.deeper()), l)
	}
	return err
}

func (f *File) addAppBlock(e *templater.AddAppBlock) error {
	field, raw, err := f.made.appBlockJSON(e.Block)
	if err != nil {
		return err
	}
	t, err := f.taskNode(e.Group, e.Task)
	if err != nil {
		return err
	}
	l := f.layout(inTaskField)
	list, err := t.container(field, '[', f.layout(inTask))
	if err == nil {
		list.append(&item{value: parseValue(raw, l.deeper())}, l)
	}
	return err
}

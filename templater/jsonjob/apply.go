package jsonjob

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Depths of containers below the job object, for layout.
const (
	inTaskGroups = 1
	inGroup      = 2
	inTasks      = 3 // also Services, Volumes, Networks
	inTask       = 4 // also a network
	inTaskField  = 5 // also DynamicPorts
)

// Apply applies edits and returns the job.
func (f *File) Apply(edits []job.Edit) ([]byte, hcl.Diagnostics) {
	if len(edits) == 0 {
		return f.bytes(f.root), nil
	}
	e := newEditor(f)
	for _, edit := range edits {
		if err := e.edit(edit); err != nil {
			return nil, hcl.Diagnostics{diagnostic.Error(f.view.Range, "Cannot edit the job", err.Error())}
		}
	}
	e.restoreOrder(e.jobNode())
	return f.bytes(e.root), nil
}

// editor edits a copy of a job.
type editor struct {
	*File
	root   *node
	groups map[string]*node
	made   fragments
}

func newEditor(f *File) *editor {
	e := &editor{File: f, root: f.root.clone(), groups: map[string]*node{}, made: fragments{}}
	for _, g := range e.jobNode().get("TaskGroups").elements() {
		e.groups[g.get("Name").str()] = g
	}
	return e
}

// jobNode returns the job in the edited copy.
func (e *editor) jobNode() *node {
	if e.depth == 1 {
		return e.root.get("Job")
	}
	return e.root
}

func (e *editor) edit(edit job.Edit) error {
	switch edit := edit.(type) {
	case *job.AddTask:
		n, err := e.made.task(edit, e.layout(inTasks).deeper())
		return e.addToGroup(edit.Group, "Tasks", n, err)
	case *job.AddService:
		n, err := e.made.service(edit.Service, e.layout(inTasks).deeper())
		return e.addToGroup(edit.Group, "Services", n, err)
	case *job.AddVolume:
		return e.addVolume(edit)
	case *job.AddPort:
		return e.addPort(edit)
	case *job.SetEnv:
		if edit.Appended != nil {
			return e.appendEnv(edit)
		}
		n, err := made(edit.Value, e.layout(inTaskField).deeper())
		return e.setInTask(edit.Group, edit.Task, "Env", edit.Name, n, err)
	case *job.SetConfig:
		return e.setConfig(edit)
	case *job.AddAppBlock:
		return e.addAppBlock(edit)
	case *job.SetProxy:
		return e.setProxy(edit)
	case *job.SetDefaults:
		return e.setDefaults(edit)
	}
	return fmt.Errorf("unknown edit %T", edit)
}

// named returns the element of a list by its Name.
func named(list *node, name string) *node {
	for _, n := range list.elements() {
		if n.get("Name").str() == name {
			return n
		}
	}
	return nil
}

func (e *editor) group(name string) (*node, error) {
	if g := e.groups[name]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("the job has no group %q", name)
}

func (e *editor) task(group, task string) (*node, error) {
	g, err := e.group(group)
	if err != nil {
		return nil, err
	}
	if t := named(g.get("Tasks"), task); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("the job has no task %q in group %q", task, group)
}

func (e *editor) addToGroup(group, field string, n *node, err error) error {
	if err != nil {
		return err
	}
	g, err := e.group(group)
	if err != nil {
		return err
	}
	list, err := g.container(field, '[', e.layout(inGroup))
	if err == nil && field == "Tasks" {
		list.appendBefore(isProxy, &item{value: n}, e.layout(inTasks))
	} else if err == nil {
		list.append(&item{value: n}, e.layout(inTasks))
	}
	return err
}

func (e *editor) addVolume(edit *job.AddVolume) error {
	l := e.layout(inTasks)
	n, err := e.made.volume(edit.Volume, l.deeper())
	if err != nil {
		return err
	}
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	volumes, err := g.container("Volumes", '{', e.layout(inGroup))
	if err == nil {
		volumes.put(edit.Volume.Label(), n, l)
	}
	return err
}

func (e *editor) addPort(edit *job.AddPort) error {
	l := e.layout(inTaskField)
	n, err := made(api.Port{Label: edit.Label, To: edit.To}, l.deeper())
	if err != nil {
		return err
	}
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	networks := g.get("Networks").elements()
	if len(networks) == 0 {
		return fmt.Errorf("group %q has no network", edit.Group)
	}
	list, err := networks[0].container("DynamicPorts", '[', e.layout(inTask))
	if err == nil {
		list.appendBefore(isMapped, &item{value: n}, l)
	}
	return err
}

// isProxy reports whether a task is one that Nomad appends to the tasks of a group.
func isProxy(task *node) bool { return job.IsProxy(task.get("Kind").str()) }

// isMapped reports whether a port is as one that Nomad appends for a proxy.
func isMapped(port *node) bool { return port.get("To").number() == job.ProxyPortTo }

func (e *editor) setInTask(group, task, field, name string, n *node, err error) error {
	if err != nil {
		return err
	}
	t, err := e.task(group, task)
	if err != nil {
		return err
	}
	values, err := t.container(field, '{', e.layout(inTask))
	if err == nil {
		values.put(name, n, e.layout(inTaskField))
	}
	return err
}

// setConfig preserves the spelling of the existing items of a list.
func (e *editor) setConfig(edit *job.SetConfig) error {
	l := e.layout(inTaskField).deeper()
	n, err := e.made.setting(edit, l)
	if err != nil || edit.Items == nil {
		return e.setInTask(edit.Group, edit.Task, "Config", edit.Name, n, err)
	}
	t, err := e.task(edit.Group, edit.Task)
	if err != nil {
		return err
	}
	list := t.get("Config").key(edit.Name)
	if list == nil || list.kind != '[' {
		return fmt.Errorf("config %s of task %q is not a list", edit.Name, edit.Task)
	}
	for _, it := range n.items[len(n.items)-len(edit.Items):] {
		list.append(&item{value: it.value}, l)
	}
	return nil
}

func (e *editor) addAppBlock(edit *job.AddAppBlock) error {
	l := e.layout(inTaskField)
	n, err := e.made.appBlock(edit.Block, l.deeper())
	if err != nil {
		return err
	}
	t, err := e.task(edit.Group, edit.Task)
	if err != nil {
		return err
	}
	list, err := t.container(job.FieldOf(edit.Block.Type), '[', e.layout(inTask))
	if err == nil {
		list.append(&item{value: n}, l)
	}
	return err
}

package jsonjob

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/hashicorp/nomad/helper/args"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// injected is a task with a mark.
type injected struct {
	index int // in the group's list
	job.Marked
}

// eject removes the injected parts that marks list and the catalog confirms: the tasks themselves
// and all other changes. If one change was edited since, that sidecar is not removed at all.
func (f *File) eject(catalog job.Catalog, keep []job.Marked) {
	marked := func(g *node) bool {
		return len(f.injected(g)) > 0 || slices.ContainsFunc(g.get("Services").elements(), func(s *node) bool {
			return proxyMark(s.get("Connect").get("SidecarTask")) != nil
		})
	}
	if !slices.ContainsFunc(f.job.get("TaskGroups").elements(), marked) {
		return
	}
	f.before = f.job
	f.document = &document{root: f.root.clone(), lead: f.lead, rest: f.rest} // the document may be shared
	f.findJob()
	for _, g := range f.job.get("TaskGroups").elements() {
		f.ejectProxies(g)
		tasks := g.get("Tasks")
		found := f.injected(g)
		found = slices.DeleteFunc(found, func(i injected) bool {
			keeps := slices.ContainsFunc(keep, i.Same)
			if keeps {
				f.kept[tasks.items[i.index].value] = true
			}
			return keeps
		})
		f.checkSeals(g, found)
		for _, i := range found {
			f.marks = append(f.marks, i.Marked)
			if i.Mark.Doubt(catalog, i.Task) != "" {
				continue
			}
			tasks.remove(i.index, f.layout(inTasks))
			if i.Mark.Added != nil {
				f.revert(g, i.Mark.Added)
			}
		}
	}
}

// injected returns the tasks of a group with marks, from the last to the first.
func (f *File) injected(g *node) []injected {
	var found []injected
	for i, t := range slices.Backward(g.get("Tasks").elements()) {
		if t.kind != '{' {
			continue
		}
		meta := map[string]string{}
		if m := t.get("Meta"); m != nil {
			for _, it := range m.items {
				meta[it.name] = it.value.str()
			}
		}
		if mark := job.ReadMark(meta); mark != nil {
			at := job.Marked{Group: g.get("Name").str(), Task: t.get("Name").str(), Mark: mark, Range: f.at(t.start)}
			found = append(found, injected{i, at})
		}
	}
	return found
}

// revert undoes the changes outside of an injection's own tasks, and keeps later additions.
func (f *File) revert(g *node, a *job.Added) {
	tasks, group, field := g.get("Tasks"), f.layout(inTasks), f.layout(inTaskField)
	if tasks != nil && len(tasks.items) == 0 {
		g.respell("Tasks", a.Bare[""]["Tasks"])
	}
	for _, net := range g.get("Networks").elements() {
		for _, label := range a.Ports {
			net.drop("DynamicPorts", a.Bare[""], field, func(n *node) bool { return n.get("Label").str() == label })
		}
	}
	for _, name := range a.Services {
		g.drop("Services", a.Bare[""], group, f.serviceOf(g, name, a.Ports))
	}
	for _, name := range a.Volumes {
		g.dropKey("Volumes", a.Bare[""], group, name)
	}
	for task, names := range a.Env {
		for _, name := range names {
			named(tasks, task).dropKey("Env", a.Bare[task], field, name)
		}
	}
	f.withdraw(g, a)
	for task, settings := range a.Config {
		for name, items := range settings {
			f.restore(named(tasks, task), name, items, a.Bare[task])
		}
	}
	for task, blocks := range a.Blocks {
		for _, b := range blocks {
			named(tasks, task).drop(job.FieldOf(b.Type), a.Bare[task], field, func(n *node) bool {
				return destination(n) == b.Destination
			})
		}
	}
}

// serviceOf matches a service of the group by its name, which Nomad completes when it registers
// the job (structs.Service.Canonicalize). Of several with that name it matches the one on a
// port that was injected with it.
func (f *File) serviceOf(g *node, name string, ports []string) func(*node) bool {
	j, group := f.job.get("Name").str(), g.get("Name").str()
	if j == "" {
		j = f.job.get("ID").str() // structs.Job.Canonicalize
	}
	if name == "" {
		name = "${JOB}-${TASKGROUP}"
	}
	registered := args.ReplaceEnv(name, map[string]string{
		"JOB": j, "TASKGROUP": group, "TASK": "group", "BASE": j + "-" + group + "-group",
	})
	isNamed := func(n *node) bool {
		has := n.get("Name").str()
		return has == name || has == registered || (has == "" && name == "${JOB}-${TASKGROUP}")
	}
	onOurs := func(n *node) bool { return isNamed(n) && slices.Contains(ports, n.get("PortLabel").str()) }
	if slices.ContainsFunc(g.get("Services").elements(), onOurs) {
		return onOurs
	}
	return isNamed
}

// destination returns the destination of a template or volume_mount.
func destination(n *node) string {
	if d := n.get("DestPath"); d != nil {
		return d.str()
	}
	return n.get("Destination").str()
}

// restore removes an injected setting, or the injected items of a list, from a driver config.
func (f *File) restore(task *node, name string, items json.RawMessage, bare job.Bare) {
	l := f.layout(inTaskField)
	list := task.get("Config").key(name)
	switch ours, isList := decoded(items).([]any); {
	case len(items) == 0 || string(items) == "null":
		task.dropKey("Config", bare, l, name)
	case isList && list != nil && list.kind == '[': // otherwise it was changed
		for _, v := range slices.Backward(ours) {
			list.removeLast(l.deeper(), func(n *node) bool { return reflect.DeepEqual(decoded(n.write(nil)), v) })
		}
		if len(list.items) == 0 && bare["Config."+name] == "" {
			task.dropKey("Config", bare, l, name)
		}
	}
}

func decoded(raw []byte) any {
	var v any
	_ = json.Unmarshal(raw, &v) // nil if raw is not JSON
	return v
}

// drop removes the last matching element from a list. An empty list gets its original spelling.
func (n *node) drop(field string, bare job.Bare, l layout, match func(*node) bool) {
	c := n.get(field)
	if c.removeLast(l, match) && len(c.items) == 0 {
		n.respell(field, bare[field])
	}
}

// dropKey is drop for a key of a map.
func (n *node) dropKey(field string, bare job.Bare, l layout, key string) {
	c := n.get(field)
	n.drop(field, bare, l, func(v *node) bool { return v == c.key(key) })
}

// respell writes an empty container with its original spelling; see job.Bare.
func (n *node) respell(field, spelt string) {
	switch spelt {
	case job.BareEmpty:
	case job.BareAbsent:
		it := n.member(field)
		n.remove(slices.Index(n.items, it), layout{})
	default:
		n.member(field).value = &node{text: "null", start: -1}
	}
}

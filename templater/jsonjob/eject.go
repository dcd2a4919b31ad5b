package jsonjob

import (
	"slices"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
)

// eject takes out what was injected, as far as the marks say and the catalog
// confirms: the tasks themselves and all that their marks list.
func (f *File) eject(catalog templater.Catalog) {
	for _, g := range f.job.get("TaskGroups").elements() {
		tasks := g.get("Tasks")
		list := tasks.elements()
		for i := len(list) - 1; i >= 0; i-- {
			t := list[i]
			if t.kind != '{' {
				continue
			}
			name := t.get("Name").str()
			meta := map[string]string{}
			if m := t.get("Meta"); m != nil {
				for _, it := range m.items {
					meta[it.name] = it.value.str()
				}
			}
			mark := templater.ReadMark(meta)
			if mark == nil {
				continue
			}
			f.marks = append(f.marks, templater.Marked{Group: g.get("Name").str(), Task: name, Mark: mark})
			if mark.Doubt(catalog, name) != "" {
				continue
			}
			tasks.remove(i)
			if mark.Added != nil {
				f.revert(g, mark.Added)
			}
		}
	}
}

// revert undoes what an injection changed outside its own tasks.
func (f *File) revert(g *node, a *templater.Added) {
	tasks := g.get("Tasks")
	if tasks != nil && len(tasks.items) == 0 {
		g.respell("Tasks", a.Bare[""]["Tasks"])
	}
	for _, net := range g.get("Networks").elements() {
		for _, label := range a.Ports {
			net.drop("DynamicPorts", a.Bare[""], func(it *item) bool { return it.value.get("Label").str() == label })
		}
	}
	for _, name := range a.Services {
		g.drop("Services", a.Bare[""], func(it *item) bool { return it.value.get("Name").str() == name })
	}
	for _, name := range a.Volumes {
		g.drop("Volumes", a.Bare[""], func(it *item) bool { return it.name == name })
	}
	for task, names := range a.Env {
		for _, name := range names {
			named(tasks, task).drop("Env", a.Bare[task], func(it *item) bool { return it.name == name })
		}
	}
	for task, settings := range a.Config {
		f.restore(named(tasks, task), settings, a.Bare[task])
	}
	for task, types := range a.Blocks {
		for _, typ := range types {
			named(tasks, task).drop(templater.FieldOf(typ), a.Bare[task], func(*item) bool { return true })
		}
	}
}

// restore gives settings of a driver config the values they had.
func (f *File) restore(task *node, settings map[string]*string, bare templater.Bare) {
	for name, before := range settings {
		if before == nil {
			task.drop("Config", bare, func(it *item) bool { return it.name == name })
			continue
		}
		if _, _, rest, err := parseJSON([]byte(*before)); err != nil || len(rest) > 0 {
			continue // not written by us
		}
		if c := task.get("Config"); c != nil {
			l := f.layout(inTaskField)
			c.put(name, parseValue([]byte(*before), l.deeper()), l)
		}
	}
}

// drop removes the last item that matches from a container. When nothing is left
// in it, it is spelt as it was before.
func (n *node) drop(field string, bare templater.Bare, match func(*item) bool) {
	c := n.get(field)
	if c == nil {
		return
	}
	for i := len(c.items) - 1; i >= 0; i-- {
		if !match(c.items[i]) {
			continue
		}
		c.remove(i)
		if len(c.items) == 0 {
			n.respell(field, bare[field])
		}
		return
	}
}

// respell writes a container that is empty now as spelt says; see templater.Bare.
func (n *node) respell(field, spelt string) {
	switch spelt {
	case templater.BareEmpty:
	case templater.BareAbsent:
		it := n.member(field)
		n.remove(slices.Index(n.items, it))
	default:
		n.member(field).value = &node{text: []byte("null"), start: -1}
	}
}

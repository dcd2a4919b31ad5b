package jsonjob

import "maps"

// restoreOrder gives the lists that injection appends to their original order, if they have the
// elements that they had. Injected tasks that are kept stay in their places, so that sidecars that
// are injected again beside them would otherwise move behind them, and the job would change.
func (e *editor) restoreOrder(j *node) {
	if e.before == nil || len(e.kept) == 0 {
		return
	}
	before := map[string]*node{}
	for _, g := range e.before.get("TaskGroups").elements() {
		before[g.get("Name").str()] = g
	}
	for _, g := range j.get("TaskGroups").elements() {
		was := before[g.get("Name").str()]
		arrange(g, was, "Tasks", nameOf)
		arrange(g, was, "Services", func(n *node) string { return nameOf(n) + "\x00" + n.get("PortLabel").str() })
		networks, had := g.get("Networks").elements(), was.get("Networks").elements()
		for i := range min(len(networks), len(had)) {
			arrange(networks[i], had[i], "DynamicPorts", func(n *node) string { return n.get("Label").str() })
		}
		for _, t := range g.get("Tasks").elements() {
			old := named(was.get("Tasks"), nameOf(t))
			arrange(t, old, "Templates", destination)
			arrange(t, old, "VolumeMounts", destination)
		}
	}
}

func nameOf(n *node) string { return n.get("Name").str() }

// arrange orders a list as another one with the same keys. The white space between elements stays.
func arrange(in, as *node, field string, key func(*node) string) {
	list, order := in.get(field), as.get(field).elements()
	values := map[string]*node{}
	for _, n := range list.elements() {
		values[key(n)] = n
	}
	had := map[string]bool{}
	for _, n := range order {
		had[key(n)] = values[key(n)] != nil
	}
	if len(order) == 0 || len(values) != len(list.elements()) || len(had) != len(order) || len(values) != len(had) {
		return
	}
	for v := range maps.Values(had) {
		if !v {
			return
		}
	}
	for i, n := range order {
		list.items[i].value = values[key(n)]
	}
}

package jsonjob

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// defaultsIn are the defaults to set in a group or one of its tasks.
type defaultsIn struct {
	fields map[string]*job.Default            // by name
	keys   map[string]map[string]*job.Default // by the name of the field and the key
	logs   cty.Value
}

// add adds a value.
func (d *defaultsIn) add(v job.DefaultValue) {
	if !v.Field.Keyed {
		if d.fields[v.Field.Name] = v.Default; v.Logs != cty.NilVal {
			d.logs = v.Logs
		}
		return
	}
	if d.keys[v.Field.Name] == nil {
		d.keys[v.Field.Name] = map[string]*job.Default{}
	}
	d.keys[v.Field.Name][v.Key] = v.Default
}

// byTask returns the values for each task, and for the group under "".
func byTask(values []job.DefaultValue) map[string]*defaultsIn {
	out := map[string]*defaultsIn{}
	for _, v := range values {
		task := ""
		if v.Field.Task {
			task = "/" + v.Task
		}
		if out[task] == nil {
			out[task] = &defaultsIn{fields: map[string]*job.Default{}, keys: map[string]map[string]*job.Default{}}
		}
		out[task].add(v)
	}
	return out
}

// defaultSetter sets the defaults of a group in place, so that equal ones keep their bytes.
type defaultSetter struct {
	*editor
	old *job.Defaults // the mark of the earlier ones, or nil
	// noVault means that a vault block was removed.
	noVault bool
}

func (e *editor) setDefaults(edit *job.SetDefaults) error {
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	s, set := &defaultSetter{editor: e}, byTask(edit.Values)
	s.old, _ = e.defaultsOf(g)
	if err := s.in(g, false, set[""], e.layout(inGroup)); err != nil {
		return err
	}
	for _, t := range g.get("Tasks").elements() {
		if t.kind != '{' {
			continue
		}
		if err := s.in(t, true, set["/"+t.get("Name").str()], e.layout(inTask)); err != nil {
			return err
		}
	}
	var added map[string]*job.Default
	if set[""] != nil {
		added = set[""].keys["constraint"]
	}
	return s.constraints(g, added, edit.Mark)
}

// in sets the defaults of a group or task, and takes back earlier ones.
func (s *defaultSetter) in(n *node, isTask bool, set *defaultsIn, l layout) error {
	if set == nil {
		set = &defaultsIn{}
	}
	task := nameIn(n, isTask)
	for _, field := range job.DefaultFields() {
		var err error
		switch {
		case field.Task != isTask || field.Name == "constraint":
		case field.Keyed:
			err = s.setKeys(n, task, field, set.keys[field.Name], l)
		default:
			err = s.setField(n, task, field, set, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *defaultSetter) setField(n *node, task string, field *job.DefaultField, set *defaultsIn, l layout) error {
	d, ours := set.fields[field.Name], s.ours(n, field, s.old, task)
	if field.Name == "logs" && (ours || d != nil) {
		if err := s.setLogs(n, task, set.logs, l); err != nil {
			return err
		}
	}
	switch {
	case d == nil && ours:
		return s.takeBack(n, field, s.old.Spelt(task), l)
	case d == nil, ours && s.holds(n.get(field.API), field, d.Recorded()):
		return nil
	}
	v, err := made(d.JSON, l.deeper())
	if err != nil {
		return err
	}
	n.set(field.API, v, l)
	return nil
}

// setLogs sets the logs in the config of a pod task, or removes earlier ones.
func (s *defaultSetter) setLogs(n *node, task string, value cty.Value, l layout) error {
	had := n.get("Config").key(job.LogsSetting)
	if had != nil && !isLogsSetting(had, s.old, task) {
		return nil
	}
	if value == cty.NilVal {
		if had != nil {
			n.dropKey("Config", s.old.Spelt(task), s.layout(inTaskField), job.LogsSetting)
		}
		return nil
	}
	v, err := s.made.setting(&job.SetConfig{Name: job.LogsSetting, Value: value}, s.layout(inTaskField).deeper())
	if err != nil {
		return err
	}
	if had != nil && job.SealedJSON(had.write(nil)) == job.SealedJSON(v.write(nil)) {
		return nil
	}
	config, err := n.container("Config", '{', l)
	if err == nil {
		config.put(job.LogsSetting, v, s.layout(inTaskField))
	}
	return err
}

// takeBack removes a default from a group or task.
func (s *defaultSetter) takeBack(n *node, field *job.DefaultField, spelt job.Bare, l layout) error {
	if without := s.filled(field, nil); field.Refill && s.view.Canonical && without != nil {
		v, err := made(without, l.deeper())
		if err == nil {
			n.set(field.API, v, l)
		}
		return err
	}
	if field.Name == "vault" {
		s.noVault = true
		n.drop("Identities", nil, s.layout(inTaskField), func(id *node) bool { return job.IsVaultIdentity(id.get("Name").str()) })
	}
	n.respell(field.API, spelt[field.API])
	return nil
}

// setKeys sets the defaults of a map in one pass, and removes earlier ones.
func (s *defaultSetter) setKeys(n *node, task string, field *job.DefaultField, set map[string]*job.Default, l layout) error {
	m := n.get(field.API)
	if m == nil && len(set) == 0 {
		return nil
	}
	had, inner := m != nil && len(m.items) > 0, s.layout(inTasks)
	if field.Task {
		inner = s.layout(inTaskField)
	}
	m, err := n.container(field.API, '{', l)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	m.filter(inner, func(it *item) bool {
		if !s.old.Holds(task, field, it.name, it.value.write(nil)) {
			return true
		}
		d := set[it.name]
		if d != nil && job.SealedJSON(it.value.write(nil)) != job.SealedJSON(d.JSON) {
			it.value = parseValue(d.JSON, inner.deeper())
		}
		done[it.name] = true
		return d != nil
	})
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if !done[key] {
			m.add(key, parseValue(set[key].JSON, inner.deeper()), inner)
		}
	}
	if had && len(m.items) == 0 {
		n.respell(field.API, s.old.Spelt(task)[field.API])
	}
	return nil
}

// constraints sets the constraints of a group and the mark behind them, in the place of earlier ones.
func (s *defaultSetter) constraints(g *node, set map[string]*job.Default, mark string) error {
	l, had := s.layout(inTasks), g.get("Constraints")
	if had == nil && mark == "" {
		return nil
	}
	list, err := g.container("Constraints", '[', s.layout(inGroup))
	if err != nil {
		return err
	}
	if s.noVault {
		s.dropImplied(list, l)
	}
	want, err := constraintTexts(set, mark)
	if err != nil {
		return err
	}
	ours := func(it *item) bool { return isDefaultsMark(it.value) || isDefaultConstraint(it.value, s.old) }
	var old []*item
	first := slices.IndexFunc(list.items, ours)
	for _, it := range list.items {
		if ours(it) {
			old = append(old, it)
		}
	}
	if sameTexts(list, first, old, want) {
		return nil
	}
	list.filter(l, func(it *item) bool { return !ours(it) })
	if first < 0 {
		first = len(list.items)
	}
	for i, raw := range want {
		list.insert(first+i, &item{value: parseValue(raw, l.deeper())}, l)
	}
	if had != nil && len(old) > 0 && len(list.items) == 0 {
		g.respell("Constraints", s.old.Spelt("")["Constraints"])
	}
	return nil
}

// constraintTexts returns constraints and their mark in JSON.
func constraintTexts(set map[string]*job.Default, mark string) ([][]byte, error) {
	var out [][]byte
	for _, key := range slices.Sorted(maps.Keys(set)) {
		out = append(out, set[key].JSON)
	}
	if mark == "" {
		return out, nil
	}
	raw, err := json.Marshal(api.Constraint{LTarget: job.MarkDefaults, RTarget: mark, Operand: job.MarkDefaultsOperand})
	return append(out, raw), err
}

// sameTexts reports whether items, the first of which has an index in the list, have the given values.
func sameTexts(list *node, first int, items []*item, want [][]byte) bool {
	if len(items) != len(want) {
		return false
	}
	for i, it := range items {
		if list.items[first+i] != it || job.SealedJSON(it.value.write(nil)) != job.SealedJSON(want[i]) {
			return false
		}
	}
	return true
}

// dropImplied removes the constraints behind the mark that Nomad has added for a vault block that is no
// longer there. It adds them again where the group needs them otherwise.
func (s *defaultSetter) dropImplied(list *node, l layout) {
	behind := false
	list.filter(l, func(it *item) bool {
		if isDefaultsMark(it.value) {
			behind = true
			return true
		}
		c := constraintOf(it.value, hcl.Range{})
		return !behind || !job.Implied(c.Attribute.Value, c.Operator.Value, it.value.get("RTarget").str())
	})
}

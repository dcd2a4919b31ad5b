package jsonjob

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// defaultsOf reads the mark of a group's defaults. It returns nil if there is none, and the position of
// a mark that injection did not write.
func (f *File) defaultsOf(group *node) (*job.Defaults, *hcl.Range) {
	var found *job.Defaults
	for _, c := range group.get("Constraints").elements() {
		if !isDefaultsMark(c) {
			continue
		}
		d := job.ReadDefaults(c.get("RTarget").str())
		if found != nil || d == nil || c.get("Operand").str() != job.MarkDefaultsOperand {
			at := f.at(c.start)
			return nil, &at
		}
		found = d
	}
	return found, nil
}

func isDefaultsMark(constraint *node) bool {
	return constraint.get("LTarget").str() == job.MarkDefaults
}

// Defaulted returns the groups with defaults of an earlier injection.
func (f *File) Defaulted() []string {
	var out []string
	for _, g := range f.job.get("TaskGroups").elements() {
		if d, _ := f.defaultsOf(g); d != nil {
			out = append(out, g.get("Name").str())
		}
	}
	return out
}

// inherited returns the fields with defaults that a job has for its groups.
func (f *File) inherited() map[string]job.Written {
	out := map[string]job.Written{}
	for _, field := range job.DefaultFields() {
		if v := f.job.get(field.InJob); field.InJob != "" && v != nil {
			out[field.Name] = job.Written{Range: f.at(v.start)}
		}
	}
	return out
}

// written returns the fields with defaults that a group or task has, and adds the original
// spelling of the absent ones to bare. defaults is the mark of the group.
func (f *File) written(n *node, isTask bool, defaults *job.Defaults, bare job.Bare) map[string]job.Written {
	task := ""
	if isTask {
		task = n.get("Name").str()
	}
	out := map[string]job.Written{}
	for _, field := range job.DefaultFields() {
		v := n.get(field.API)
		if v == nil {
			if n.member(field.API) == nil {
				bare[field.API] = job.BareAbsent
			}
			continue
		}
		w := job.Written{Range: f.at(v.start)}
		if raw := defaults.Of(task, &field); field.Task == isTask && raw != nil && f.holds(v, &field, raw) {
			w.Default = true
			if spelt, ok := defaults.Spelt(task)[field.API]; ok {
				bare[field.API] = spelt
			}
		}
		out[field.Name] = w
	}
	return out
}

// holds reports whether a value of the job is still the recorded default. Nomad may have filled in
// the rest of the block.
func (f *File) holds(value *node, field *job.DefaultField, recorded []byte) bool {
	have, want := decoded(value.write(nil)), decoded(recorded)
	block, isBlock := want.(map[string]any)
	in, ok := have.(map[string]any)
	if !isBlock || !ok {
		return !isBlock && !ok && want != nil && reflect.DeepEqual(have, want)
	}
	for name, v := range block {
		if !reflect.DeepEqual(in[name], v) {
			return false
		}
	}
	for name, v := range in {
		if _, set := block[name]; !set && v != nil && !isUnset(v, f.filledOnce(field, recorded)[name]) {
			return false
		}
	}
	return true
}

// filledOnce is filled, computed once for each value.
func (f *File) filledOnce(field *job.DefaultField, recorded []byte) map[string]any {
	key := field.API + string(recorded)
	filled, known := f.filledIn[key]
	if !known {
		filled = f.filled(field, recorded)
		f.filledIn[key] = filled
	}
	return filled
}

// isUnset reports whether a value is null, or that with which Nomad replaces null.
func isUnset(v, filled any) bool {
	zero := func(v any) bool { return v == nil || reflect.ValueOf(v).IsZero() }
	return v == nil || reflect.DeepEqual(v, filled) || (zero(v) && zero(filled))
}

// filled returns a block as Nomad completes it for a job of this type. recorded may be nil for an
// absent block.
func (f *File) filled(field *job.DefaultField, recorded []byte) map[string]any {
	group, task := map[string]any{"Name": "g"}, map[string]any{"Name": "t"}
	group["Tasks"] = []any{task}
	if field.Task {
		task[field.API] = json.RawMessage(recorded)
	} else {
		group[field.API] = json.RawMessage(recorded)
	}
	raw, err := json.Marshal(map[string]any{"ID": "j", "Type": fieldText(f.job, "Type", "service").Value, "TaskGroups": []any{group}})
	var j api.Job
	if err != nil || json.Unmarshal(raw, &j) != nil {
		return nil
	}
	j.Canonicalize()
	of := reflect.ValueOf(j.TaskGroups[0])
	if field.Task {
		of = reflect.ValueOf(j.TaskGroups[0].Tasks[0])
	}
	if raw, err = json.Marshal(of.Elem().FieldByName(field.API).Interface()); err != nil {
		return nil
	}
	out, _ := decoded(raw).(map[string]any)
	return out
}

// Original returns the job as it was before injection.
func (f *File) Original() ([]byte, hcl.Diagnostics) {
	var edits []job.Edit
	for _, group := range f.Defaulted() {
		edits = append(edits, &job.SetDefaults{Group: group})
	}
	return f.Apply(edits)
}

// setDefaults sets the defaults of a group in place, so that equal ones keep their bytes.
func (e *editor) setDefaults(edit *job.SetDefaults) error {
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	old, _ := e.defaultsOf(g)
	values, inTasks := map[string]*job.Default{}, map[string]map[string]*job.Default{}
	for _, v := range edit.Values {
		to := values
		if v.Field.Task {
			if inTasks[v.Task] == nil {
				inTasks[v.Task] = map[string]*job.Default{}
			}
			to = inTasks[v.Task]
		}
		to[v.Field.Name] = v.Default
	}
	if err := e.setFields(g, false, values, old, e.layout(inGroup)); err != nil {
		return err
	}
	for _, t := range g.get("Tasks").elements() {
		if err := e.setFields(t, true, inTasks[t.get("Name").str()], old, e.layout(inTask)); err != nil {
			return err
		}
	}
	return e.markDefaults(g, old, edit.Mark)
}

// setFields sets the defaults of a group or task by their names, and takes back earlier ones.
func (e *editor) setFields(n *node, isTask bool, set map[string]*job.Default, old *job.Defaults, l layout) error {
	task := ""
	if isTask {
		task = n.get("Name").str()
	}
	for _, field := range job.DefaultFields() {
		if field.Task != isTask {
			continue
		}
		raw, has := old.Of(task, &field), n.get(field.API)
		ours := raw != nil && has != nil && e.holds(has, &field, raw)
		switch d := set[field.Name]; {
		case d == nil && ours:
			if err := e.takeBack(n, &field, old.Spelt(task)[field.API], l); err != nil {
				return err
			}
		case d == nil, ours && e.holds(has, &field, d.Recorded()):
		default:
			v, err := made(d.JSON, l.deeper())
			if err != nil {
				return err
			}
			n.set(field.API, v, l)
		}
	}
	return nil
}

// takeBack removes a default from a group or task.
func (e *editor) takeBack(n *node, field *job.DefaultField, spelt string, l layout) error {
	if without := e.filled(field, nil); field.Refill && e.view.Canonical && without != nil {
		v, err := made(without, l.deeper())
		if err == nil {
			n.set(field.API, v, l)
		}
		return err
	}
	n.respell(field.API, spelt)
	return nil
}

// markDefaults replaces, adds or removes the mark of a group.
func (e *editor) markDefaults(g *node, old *job.Defaults, mark string) error {
	if mark == "" {
		if old != nil {
			g.drop("Constraints", old.Bare[""], e.layout(inTasks), isDefaultsMark)
		}
		return nil
	}
	n, err := made(api.Constraint{LTarget: job.MarkDefaults, RTarget: mark, Operand: job.MarkDefaultsOperand}, e.layout(inTasks).deeper())
	if err != nil {
		return err
	}
	list, err := g.container("Constraints", '[', e.layout(inGroup))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list.items, func(it *item) bool { return isDefaultsMark(it.value) })
	switch {
	case i < 0:
		list.append(&item{value: n}, e.layout(inTasks))
	case list.items[i].value.get("RTarget").str() != mark:
		list.items[i].value = n
	}
	return nil
}

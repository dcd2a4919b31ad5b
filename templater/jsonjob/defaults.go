package jsonjob

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	ctyjson "github.com/zclconf/go-cty/cty/json"

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

// written returns the fields with defaults that a group or task has, except keyed ones, and adds the
// original spelling of the absent ones to bare. defaults is the mark of the group.
func (f *File) written(n *node, isTask bool, defaults *job.Defaults, bare job.Bare) map[string]job.Written {
	task := nameIn(n, isTask)
	out := map[string]job.Written{}
	for _, field := range job.DefaultFields() {
		v := n.get(field.API)
		if field.Keyed || v == nil {
			if n.member(field.API) == nil && !field.Keyed {
				bare[field.API] = job.BareAbsent
			}
			continue
		}
		w := job.Written{Range: f.at(v.start)}
		if field.Task == isTask && f.ours(n, field, defaults, task) {
			w.Default = true
			if spelt, ok := defaults.Spelt(task)[field.API]; ok {
				bare[field.API] = spelt
			}
		}
		out[field.Name] = w
	}
	return out
}

// nameIn returns the name of a task, or "" for a group, as marks use them.
func nameIn(n *node, isTask bool) string {
	if isTask {
		return n.get("Name").str()
	}
	return ""
}

// vaultIdentity adds vault to the written fields of a task with an identity for Vault: its author has
// decided how the task uses Vault.
func (f *File) vaultIdentity(task *node, written map[string]job.Written) {
	if _, has := written["vault"]; has {
		return
	}
	for _, id := range task.get("Identities").elements() {
		if job.IsVaultIdentity(id.get("Name").str()) {
			written["vault"] = job.Written{Range: f.at(id.start)}
		}
	}
}

// ours reports whether the value of a field is still the recorded default, and so is the setting that
// repeats logs in the config of a pod task.
func (f *File) ours(n *node, field *job.DefaultField, defaults *job.Defaults, task string) bool {
	v, recorded := n.get(field.API), defaults.Of(task, field, "")
	if v == nil || recorded == nil || !f.holds(v, field, recorded) {
		return false
	}
	if field.Name != "logs" || n.get("Driver").str() != podDriver {
		return true
	}
	setting := n.get("Config").key(job.LogsSetting)
	return setting == nil || isLogsSetting(setting, defaults, task)
}

// isLogsSetting reports whether a setting of a task's config repeats default logs.
func isLogsSetting(setting *node, defaults *job.Defaults, task string) bool {
	var l struct {
		MaxFiles, MaxFileSizeMB int
		Disabled                bool
	}
	recorded := defaults.Of(task, job.FindDefaultField("logs"), "")
	if !defaults.InConfig(task) || json.Unmarshal(recorded, &l) != nil {
		return false
	}
	v, ok := job.Logs{Files: l.MaxFiles, SizeMB: l.MaxFileSizeMB, Disabled: l.Disabled}.ForDriver()
	if !ok {
		return false
	}
	raw, err := ctyjson.Marshal(v, v.Type())
	return err == nil && job.SealedJSON(setting.write(nil)) == job.SealedJSON(raw)
}

// withoutDefaults removes default logs and variables from the view of a task.
func (f *File) withoutDefaults(t *job.Task, n *node, defaults *job.Defaults) {
	if defaults == nil {
		return
	}
	t.DefaultEnv = f.authors(t.Env, t.Bare, "Env", n, t.Name, defaults)
	if !t.Written["logs"].Default {
		return
	}
	t.Logs = nil
	if s := n.get("Config").key(job.LogsSetting); s != nil && isLogsSetting(s, defaults, t.Name) {
		setting := t.Config[job.LogsSetting]
		t.DefaultLogs = &setting
		if delete(t.Config, job.LogsSetting); len(t.Config) == 0 {
			spell(t.Bare, "Config", defaults.Spelt(t.Name))
		}
	}
}

// authors leaves only the author's values in the texts of a map, the env of a task or the meta of a
// group, and returns those that are there by default.
func (f *File) authors(texts map[string]job.Text, bare job.Bare, api string, n *node, task string, defaults *job.Defaults) map[string]job.Text {
	field, set := keyedField(api), map[string]job.Text{}
	if m := n.get(api); m != nil && m.kind == '{' && defaults != nil {
		for _, it := range m.items {
			if text, ok := texts[it.name]; ok && defaults.Holds(task, field, it.name, it.value.write(nil)) {
				set[strings.Clone(it.name)] = text
				delete(texts, it.name)
			}
		}
	}
	if len(texts) == 0 && len(set) > 0 {
		spell(bare, api, defaults.Spelt(task))
	}
	return set
}

// keyedField returns a keyed field by its name in the API.
func keyedField(api string) *job.DefaultField {
	for _, f := range job.DefaultFields() {
		if f.API == api {
			return f
		}
	}
	return nil
}

// spell sets the spelling of a container to the recorded one.
func spell(bare job.Bare, field string, recorded job.Bare) {
	if spelt, ok := recorded[field]; ok {
		bare[field] = spelt
	}
}

// constraints returns the constraints of a job, group or task, except those that are there by default.
func (f *File) constraints(n *node, defaults *job.Defaults) []job.Constraint {
	var out []job.Constraint
	for _, c := range n.get("Constraints").elements() {
		if !isDefaultsMark(c) && !isDefaultConstraint(c, defaults) {
			out = append(out, constraintOf(c, f.at(c.start)))
		}
	}
	return out
}

func constraintOf(n *node, at hcl.Range) job.Constraint {
	return job.Constraint{Attribute: fieldText(n, "LTarget", ""), Operator: fieldText(n, "Operand", ""), Range: at}
}

// isDefaultConstraint reports whether a constraint of a group is there by default.
func isDefaultConstraint(n *node, defaults *job.Defaults) bool {
	return defaults != nil && defaults.Holds("", job.FindDefaultField("constraint"), constraintOf(n, hcl.Range{}).Key(), n.write(nil))
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
		_, set := block[name]
		if unset := isZeroValue(v) && field.ZeroIsUnset(name); !set && v != nil && !unset && !isUnset(v, f.filledOnce(field, recorded)[name]) {
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
	return v == nil || reflect.DeepEqual(v, filled) || (isZeroValue(v) && isZeroValue(filled))
}

func isZeroValue(v any) bool { return v == nil || reflect.ValueOf(v).IsZero() }

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

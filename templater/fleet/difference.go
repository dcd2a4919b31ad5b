package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// difference returns the first part of a sidecar that differs in the stored job; "" if
// there is none. Both jobs are canonicalized like Nomad's API does. Fields that Nomad adds
// to stored jobs are ignored.
func difference(made, stored []byte, group, sidecar string) (string, error) {
	want, err := readGroup(made, group)
	if err != nil {
		return "", err
	}
	have, err := readGroup(stored, group)
	if err != nil {
		return "", err
	}
	d := &comparison{want: want, have: have}
	d.tasks(sidecar)
	if d.added != nil && d.found == "" {
		d.compareAdditions()
	}
	return d.found, nil
}

// readGroup returns a group with all defaults.
func readGroup(raw []byte, name string) (*api.TaskGroup, error) {
	j := &api.Job{}
	if err := json.Unmarshal(raw, j); err != nil {
		return nil, fmt.Errorf("read a job: %w", err)
	}
	if j.ID == nil {
		return nil, errors.New("read a job: it has no ID")
	}
	j.TaskGroups = slices.DeleteFunc(j.TaskGroups, func(g *api.TaskGroup) bool { return g == nil || g.Name == nil || *g.Name != name })
	j.Canonicalize()
	if len(j.TaskGroups) == 0 {
		return nil, fmt.Errorf("read a job: it has no group %q", name)
	}
	interpolate(j, j.TaskGroups[0])
	return j.TaskGroups[0], nil
}

// interpolate completes the names of services like Nomad does when it stores a job
// (structs.Service.Canonicalize).
func interpolate(j *api.Job, g *api.TaskGroup) {
	names := func(services []*api.Service, task string) {
		base := fmt.Sprintf("%s-%s-%s", *j.Name, *g.Name, task)
		r := strings.NewReplacer("${JOB}", *j.Name, "${TASKGROUP}", *g.Name, "${TASK}", task, "${BASE}", base)
		for _, s := range services {
			s.Name = r.Replace(s.Name)
		}
	}
	names(g.Services, "group")
	for _, t := range g.Tasks {
		names(t.Services, t.Name)
	}
}

type comparison struct {
	want, have *api.TaskGroup
	added      *job.Added
	found      string
}

func (d *comparison) differs(format string, args ...any) {
	if d.found == "" {
		d.found = fmt.Sprintf(format, args...)
	}
}

func markedTasks(g *api.TaskGroup, sidecar string) []*api.Task {
	return slices.DeleteFunc(slices.Clone(g.Tasks), func(t *api.Task) bool {
		m := job.ReadMark(t.Meta)
		return m == nil || m.Name != sidecar
	})
}

func task(g *api.TaskGroup, name string) *api.Task {
	for _, t := range g.Tasks {
		if t.Name == name {
			return t
		}
	}
	return &api.Task{}
}

// tasks compares the sidecar's tasks in the fields that a definition can set.
func (d *comparison) tasks(sidecar string) {
	want, have := markedTasks(d.want, sidecar), markedTasks(d.have, sidecar)
	if len(want) != len(have) {
		d.differs("the number of its tasks")
		return
	}
	for i, w := range want {
		h := have[i]
		if w.Name != h.Name {
			d.differs("task %q", h.Name)
			return
		}
		if m := job.ReadMark(w.Meta); m.Added != nil {
			d.added = m.Added
		}
		// Another origin may choose the same values.
		delete(w.Meta, job.MarkOrigin)
		delete(h.Meta, job.MarkOrigin)
		for _, field := range []string{
			"Driver", "User", "Lifecycle", "Config", "Constraints", "Affinities", "Env", "Services", "Resources", "RestartPolicy",
			"Meta", "KillTimeout", "LogConfig", "Artifacts", "Templates", "VolumeMounts", "Leader", "ShutdownDelay", "KillSignal",
		} {
			if !within(fieldOf(w, field), fieldOf(h, field), exact(field)) {
				d.differs("%s of task %q", field, w.Name)
			}
		}
	}
}

// exact reports whether a field is a map in which the definition sets all keys.
func exact(field string) bool { return field == "Env" || field == "Config" || field == "Meta" }

func fieldOf(t *api.Task, name string) any {
	return generic(reflect.ValueOf(t).Elem().FieldByName(name).Interface())
}

// generic converts a value to the types of encoding/json.
func generic(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	_ = json.Unmarshal(raw, &out) // marshalled above
	return out
}

// within reports whether have contains want. Lists must have the same length and, if all
// is set, maps the same keys; otherwise a map may have more keys, added by Nomad.
func within(want, have any, all bool) bool {
	if empty(want) {
		return empty(have) || !all && !isList(have)
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok || (all && len(h) != len(w)) {
			return false
		}
		for key, value := range w {
			if !within(value, h[key], all) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return false
		}
		for i := range w {
			if !within(w[i], h[i], all) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(want, have)
}

func isList(v any) bool { _, ok := v.([]any); return ok }

// empty reports whether JSON may omit a value.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

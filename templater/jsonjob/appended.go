package jsonjob

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// appendEnv adds a text to a variable of a task and preserves the spelling of the rest.
func (e *editor) appendEnv(edit *job.SetEnv) error {
	t, err := e.task(edit.Group, edit.Task)
	if err != nil {
		return err
	}
	env := t.get("Env")
	v := env.key(edit.Name)
	if v == nil || !v.isString() {
		return fmt.Errorf("variable %s of task %q is not a string. Write a string, or remove it", edit.Name, edit.Task)
	}
	text := quote(spelt(*edit.Appended).To(inside(v.text)))
	env.putText(edit.Name, text)
	return nil
}

// withdraw removes the texts that a mark lists from variables of the app tasks. A text that is no
// longer part of its variable is ignored.
func (f *File) withdraw(g *node, a *job.Added) {
	for task, texts := range a.Appended {
		t := named(g.get("Tasks"), task)
		for name, more := range texts {
			env := t.get("Env")
			v := env.key(name)
			if v == nil || !v.isString() || !more.In(v.str()) {
				continue
			}
			rest, _ := more.From(v.str())
			if rest == "" && more.Absent {
				t.dropKey("Env", a.Bare[task], f.layout(inTaskField), name)
				continue
			}
			env.putText(name, without(v.text, more, rest))
		}
	}
}

// without returns the JSON of a string without an added text, spelt as before if possible. rest is
// its value.
func without(text string, more job.Appended, rest string) string {
	if in, ok := spelt(more).From(inside(text)); ok && unquote(quote(in)) == rest {
		return quote(in)
	}
	out, _ := json.Marshal(rest) // a string always marshals
	return string(out)
}

// spelt returns the parts of a text as JSON spells them between quotes.
func spelt(a job.Appended) job.Appended {
	in := func(s string) string {
		text, _ := json.Marshal(s) // a string always marshals
		return inside(string(text))
	}
	return job.Appended{Separator: in(a.Separator), Text: in(a.Text)}
}

func inside(quoted string) string { return quoted[1 : len(quoted)-1] }

func quote(inside string) string { return `"` + inside + `"` }

func (n *node) isString() bool { return n.kind == 0 && n.text[0] == '"' }

// putText replaces the value of an existing key.
func (n *node) putText(key, text string) {
	for _, it := range slices.Backward(n.items) {
		if it.name == key {
			it.value = &node{text: text, start: -1}
			return
		}
	}
}

// appended checks the marks of texts that are added to variables of a task.
func (s *seals) appended() {
	for _, task := range slices.Sorted(maps.Keys(s.added.Appended)) {
		for _, name := range slices.Sorted(maps.Keys(s.added.Appended[task])) {
			if s.broken == "" && !s.added.Intact(task, name) {
				s.broken = fmt.Sprintf("the text added to variable %s of task %q is not what this sidecar wrote", name, task)
			}
		}
	}
}

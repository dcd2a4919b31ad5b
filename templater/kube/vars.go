package kube

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

// variables are the items of the Nomad variable of a job.
type variables struct {
	items []secretItem
}

// secretItem is a key of a Secret, or of a ConfigMap that is in none of the files.
type secretItem struct {
	kind, object, key string
	name              string // of the item
	value             string
	known             bool
	binary            bool // the value is in base64
}

// path returns the path of the variable, which the tasks of a job may read by default.
func (v *variables) path(j *podJob) string {
	if len(v.items) == 0 {
		return ""
	}
	return "nomad/jobs/" + j.name
}

// item returns the name of the item of a key, and adds it.
func (v *variables) item(kind, object, key string) string {
	name := strings.ToLower(clean(object + "_" + key))
	taken := false
	for _, i := range v.items {
		if i.kind == kind && i.object == object && i.key == key {
			return i.name
		}
		taken = taken || i.name == name
	}
	if taken {
		name = fmt.Sprintf("%s_%d", name, len(v.items))
	}
	v.items = append(v.items, secretItem{kind: kind, object: object, key: key, name: name})
	return name
}

// find returns an item by name.
func (v *variables) find(name string) *secretItem {
	for i := range v.items {
		if v.items[i].name == name {
			return &v.items[i]
		}
	}
	return nil
}

// known returns the items with values in the manifests.
func (v *variables) known() map[string]string {
	out := map[string]string{}
	for _, i := range v.items {
		if i.known {
			out[i.name] = i.value
		}
	}
	return out
}

// note returns a comment on the variable that the job needs.
func (v *variables) note(j *podJob) []item {
	if len(v.items) == 0 {
		return nil
	}
	var names []string
	for _, i := range v.items {
		name := i.name + "=…"
		if i.binary {
			name = i.name + "=… (in base64)"
		}
		names = append(names, name)
	}
	namespace := ""
	if j.of.ns() != "default" {
		namespace = " -namespace " + j.of.namespace
	}
	return []item{{comment: "The tasks wait for this variable: nomad var put" + namespace + " " + v.path(j) + " " + strings.Join(names, " ")}}
}

// with wraps the text of a template that uses items.
func (v *variables) with(j *podJob, text string, required bool) string {
	path := "nomad/jobs/" + j.name
	text = fmt.Sprintf("{{ with nomadVar %q -}}\n%s{{ end -}}\n", path, text)
	if required {
		return text
	}
	return fmt.Sprintf("{{ if nomadVarExists %q -}}\n%s{{ end -}}\n", path, text)
}

// use marks an object as used by the job.
func (j *podJob) use(o *object) {
	o.used = true
	j.owns(o)
}

// data returns the value of a key of a ConfigMap or Secret. In the environment a binary value of a
// ConfigMap is an error.
func (j *podJob) data(o *object, key string, env bool) (value, bool) {
	switch d := o.value.(type) {
	case *corev1.ConfigMap:
		if s, ok := d.Data[key]; ok {
			return literal(s), true
		}
		b, ok := d.BinaryData[key]
		if ok && env && !utf8.Valid(b) {
			j.findIn(o, "binaryData."+key, NoEquivalent, "a variable of the environment cannot have bytes that are no text")
			return nil, true
		}
		return literal(string(b)), ok
	case *corev1.Secret:
		b, ok := d.Data[key]
		if s, also := d.StringData[key]; also {
			b, ok = []byte(s), true
		}
		if !ok {
			return nil, false
		}
		item := j.vars.find(j.vars.item(o.kind, o.name, key))
		item.value, item.known = string(b), true
		if !utf8.Valid(b) {
			item.value, item.binary = base64.StdEncoding.EncodeToString(b), true
			if env {
				j.findIn(o, "data", Decision, "key %q is no text; item %s has it in base64, and the environment too", key, item.name)
			}
		}
		return value{{item: item.name}}, true
	}
	return nil, false
}

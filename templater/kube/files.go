package kube

import (
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

// file is a file of a volume that a template renders.
type file struct {
	path     string
	content  value
	mode     int32
	optional bool
}

// defaultMode is the mode of files in both Kubernetes and Nomad.
const defaultMode = 0o644

// mountFiles mounts a directory of rendered files.
func (c *container) mountFiles(m *corev1.VolumeMount, v *corev1.Volume, at string) {
	var files []file
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		files = c.j.filesOf(at+".configMap", "ConfigMap", s.Name, s.Items, or(s.DefaultMode, defaultMode), or(s.Optional, false))
	case v.Secret != nil:
		s := v.Secret
		files = c.j.filesOf(at+".secret", "Secret", s.SecretName, s.Items, or(s.DefaultMode, defaultMode), or(s.Optional, false))
	case v.DownwardAPI != nil:
		files = c.downward(at+".downwardAPI", v.DownwardAPI.Items, or(v.DownwardAPI.DefaultMode, defaultMode))
	case v.Projected != nil:
		mode := or(v.Projected.DefaultMode, defaultMode)
		for i, s := range v.Projected.Sources {
			at := fmt.Sprintf("%s.projected.sources[%d]", at, i)
			switch {
			case s.ConfigMap != nil:
				files = append(files, c.j.filesOf(at+".configMap", "ConfigMap", s.ConfigMap.Name, s.ConfigMap.Items, mode, or(s.ConfigMap.Optional, false))...)
			case s.Secret != nil:
				files = append(files, c.j.filesOf(at+".secret", "Secret", s.Secret.Name, s.Secret.Items, mode, or(s.Secret.Optional, false))...)
			case s.DownwardAPI != nil:
				files = append(files, c.downward(at+".downwardAPI", s.DownwardAPI.Items, mode)...)
			}
		}
	}
	dir := "local/" + v.Name
	if slices.ContainsFunc(files, func(f file) bool { return f.content.secret() }) {
		dir = "secrets/" + v.Name
	}
	for _, f := range files {
		if path.IsAbs(f.path) || f.path == "" || slices.Contains(strings.Split(f.path, "/"), "..") {
			c.j.im.wrong(c.j.of, at, "%q is not a path below the volume.", f.path)
			continue
		}
		c.render(path.Join(dir, f.path), f)
	}
	c.bindTo(dir, m, true)
}

// filesOf returns the files of a ConfigMap or Secret.
func (j *podJob) filesOf(at, kind, name string, items []corev1.KeyToPath, mode int32, optional bool) []file {
	o := j.im.lookup(kind, j.of.ns(), name)
	if o == nil {
		return j.absentFiles(at, kind, name, items, mode, optional)
	}
	j.use(o)
	var out []file
	if len(items) == 0 {
		for _, key := range keys(o) {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for i, item := range items {
		v, ok := j.data(o, item.Key, false)
		if !ok {
			if !optional {
				j.im.wrong(j.of, fmt.Sprintf("%s.items[%d].key", at, i), "%s has no key %q.", o, item.Key)
			}
			continue
		}
		if s, fixed := v.fixed(); fixed {
			j.mentionIn(o, "data."+item.Key, "", s)
		}
		out = append(out, file{path: item.Path, content: v, mode: or(item.Mode, mode), optional: optional})
	}
	return out
}

// absentFiles returns files of an object that is in none of the files: items of the Nomad variable.
func (j *podJob) absentFiles(at, kind, name string, items []corev1.KeyToPath, mode int32, optional bool) []file {
	if len(items) == 0 {
		j.find(at, Decision, "%s %q is in none of the files, so that its keys are unknown and the directory is empty; import the file that has it too", kind, name)
		return nil
	}
	j.find(at, Decision, "%s %q is in none of the files; store its values in the Nomad variable", kind, name)
	var out []file
	for _, item := range items {
		v := value{{item: j.vars.item(kind, name, item.Key)}}
		out = append(out, file{path: item.Path, content: v, mode: or(item.Mode, mode), optional: optional})
	}
	return out
}

func (c *container) downward(at string, items []corev1.DownwardAPIVolumeFile, mode int32) []file {
	var out []file
	for i := range items {
		item := &items[i]
		field := strings.TrimPrefix(fmt.Sprintf("%s.items[%d]", at, i), c.path+".")
		var v value
		ok := false
		switch {
		case item.FieldRef != nil && item.FieldRef.FieldPath == "metadata.labels":
			v, ok = literal(mapFile(c.j.meta.Labels)), true
		case item.FieldRef != nil && item.FieldRef.FieldPath == "metadata.annotations":
			v, ok = literal(mapFile(c.j.meta.Annotations)), true
		case item.FieldRef != nil:
			v, ok = c.ofPod().fieldRef(field+".fieldRef", item.FieldRef)
		case item.ResourceFieldRef != nil:
			v, ok = c.ofPod().resourceRef(field+".resourceFieldRef", item.ResourceFieldRef)
		}
		if ok {
			out = append(out, file{path: item.Path, content: v, mode: or(item.Mode, mode)})
		}
	}
	return out
}

// ofPod returns the container for findings with paths of the whole object.
func (c *container) ofPod() *container {
	of := *c
	of.path = ""
	return &of
}

// render adds a template. The same file for two mounts is rendered once.
func (c *container) render(destination string, f file) {
	for _, t := range c.templates {
		if t.items[0].expression == quote(destination) {
			return
		}
	}
	b := &block{kind: "template"}
	b.text("destination", destination)
	if f.mode != defaultMode {
		b.text("perms", fmt.Sprintf("%04o", f.mode))
	}
	if f.content.secret() {
		b.text("change_mode", "noop") // Kubernetes replaces the file and restarts nothing
		if !f.optional {
			b.flag("error_on_missing_key")
		}
		b.attr("data", heredoc(c.j.secretFile(f)))
	} else {
		data(b, f.content)
	}
	c.templates = append(c.templates, b)
}

// secretFile returns the template of a file with one item.
func (j *podJob) secretFile(f file) string {
	name := f.content[0].item
	text := "." + name + ".Value"
	if f.optional {
		text = fmt.Sprintf("(index . %q).Value", name)
	}
	if i := j.vars.find(name); i != nil && i.binary {
		text += " | base64Decode"
	}
	path := "nomad/jobs/" + j.name
	out := fmt.Sprintf("{{ with nomadVar %q }}{{ %s }}{{ end }}{{ \"\" -}}\n", path, text)
	if f.optional {
		out = fmt.Sprintf("{{ if nomadVarExists %q }}{{ with nomadVar %q }}{{ %s }}{{ end }}{{ end }}{{ \"\" -}}\n", path, path, text)
	}
	return out
}

// data adds the content of a file to a template: unchanged, unless it has bytes or characters that
// HCL cannot have.
func data(b *block, v value) {
	s, fixed := v.fixed()
	switch {
	case !fixed:
		b.text("data", "{{ "+v.action()+" }}")
		return
	case s == "":
		b.text("data", "{{/* empty */}}")
		return
	case !utf8.ValidString(s):
		b.text("data", fmt.Sprintf("{{ %q | base64Decode }}", base64.StdEncoding.EncodeToString([]byte(s))))
		return
	}
	left, right := "{{", "}}"
	if strings.Contains(s, left) {
		for i := 2; strings.Contains(s, left); i++ {
			left, right = strings.Repeat("[", i)+"{", "}"+strings.Repeat("]", i)
		}
		b.text("left_delimiter", left)
		b.text("right_delimiter", right)
	}
	switch {
	case !heredocSafe(s) || !strings.Contains(s, "\n"):
		b.text("data", s)
	case strings.HasSuffix(s, "\n"):
		b.attr("data", heredoc(s))
	default: // a heredoc ends with a newline, which the action removes
		b.attr("data", heredoc(s+left+` "" -`+right+"\n"))
	}
}

package kube

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxValue limits a variable: $(NAME) can double a value with every line.
const maxValue = 128 << 10

// variable is a variable of a container's environment.
type variable struct {
	name     string
	value    value
	optional bool
}

// environment is the environment of a container, in the order of the manifest. A later variable
// replaces an earlier one of the same name.
type environment []variable

func (e environment) has(name string) bool {
	return slices.ContainsFunc(e, func(v variable) bool { return v.name == name })
}

func (e environment) get(name string) (value, bool) {
	for _, v := range e {
		if v.name == name {
			return v.value, true
		}
	}
	return nil, false
}

func (e *environment) set(v variable) {
	for i := range *e {
		if (*e)[i].name == v.name {
			(*e)[i] = v
			return
		}
	}
	*e = append(*e, v)
}

// reference matches the references that Nomad replaces in the environment.
var reference = regexp.MustCompile(`\$\{[a-zA-Z0-9_.-]+\}`)

// replaced reports whether Nomad replaces ${NAME} in the environment.
func (e environment) replaced(name string) bool {
	for _, prefix := range []string{"NOMAD_", "node.", "attr.", "meta.", "env.", "device.", "unique."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return e.has(name)
}

// expand resolves $(NAME) by the rules of Kubernetes: $$ is a dollar sign, and a name that is not
// defined stays.
func expand(s string, lookup func(string) (value, bool)) value {
	var out value
	var text strings.Builder
	flush := func() {
		out = append(out, literal(text.String())...)
		text.Reset()
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			text.WriteByte(s[i])
			continue
		}
		if s[i+1] == '$' {
			text.WriteByte('$')
			i++
			continue
		}
		end := strings.IndexByte(s[i:], ')')
		if s[i+1] != '(' || end < 0 {
			text.WriteByte('$')
			continue
		}
		if v, ok := lookup(s[i+2 : i+end]); ok {
			flush()
			out = append(out, v...)
		} else {
			text.WriteString(s[i : i+end+1])
		}
		i += end
	}
	flush()
	return out
}

// environment collects the variables of the container.
func (c *container) environment() {
	if c.j.index {
		c.env.set(variable{name: "JOB_COMPLETION_INDEX", value: value{{nomad: "NOMAD_ALLOC_INDEX"}}})
	}
	for i, from := range c.EnvFrom {
		c.envFrom(fmt.Sprintf("envFrom[%d]", i), from)
	}
	for i, e := range c.Env {
		field := fmt.Sprintf("env[%d]", i)
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") {
			c.wrong(field+".name", "a variable needs a name without \"=\".")
			continue
		}
		v := variable{name: e.Name}
		if e.ValueFrom == nil {
			c.mention(field+".value", e.Name, e.Value)
			v.value = expand(e.Value, c.env.get)
		} else {
			var ok bool
			if v.value, v.optional, ok = c.valueFrom(field+".valueFrom", e.ValueFrom); !ok {
				continue
			}
		}
		if v.value.size() > maxValue {
			c.wrong(field+".value", "with its references resolved it has more than %d KiB.", maxValue>>10)
			continue
		}
		c.env.set(v)
	}
}

// envName is the form of names that a template with env = true can have.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

func (c *container) envFrom(field string, from corev1.EnvFromSource) {
	var o *object
	var kind, name string
	optional := false
	switch {
	case from.ConfigMapRef != nil:
		kind, name, optional = "ConfigMap", from.ConfigMapRef.Name, or(from.ConfigMapRef.Optional, false)
	case from.SecretRef != nil:
		kind, name, optional = "Secret", from.SecretRef.Name, or(from.SecretRef.Optional, false)
	default:
		return
	}
	o = c.j.im.lookup(kind, c.j.of.ns(), name)
	if o == nil && optional {
		c.find(field, Decision, "%s %q is optional and in none of the files; if it exists, import the file that has it too", kind, name)
		return
	}
	if o == nil {
		c.find(field, Decision, "%s %q is in none of the files, so that its keys are unknown; import the file that has it too", kind, name)
		return
	}
	c.j.use(o)
	for _, key := range keys(o) {
		if !envName.MatchString(from.Prefix + key) {
			c.find(field, NoEquivalent, "key %q of %s is no name of a variable; Kubernetes leaves it out too", key, o)
			continue
		}
		v, _ := c.j.data(o, key, true)
		if s, ok := v.fixed(); ok {
			c.mentionIn(o, "data."+key, from.Prefix+key, s)
		}
		c.env.set(variable{name: from.Prefix + key, value: v, optional: optional})
	}
}

// valueFrom resolves a reference. It returns false if the variable is left out.
func (c *container) valueFrom(field string, from *corev1.EnvVarSource) (v value, optional, ok bool) {
	switch {
	case from.FieldRef != nil:
		v, ok = c.fieldRef(field+".fieldRef", from.FieldRef)
	case from.ResourceFieldRef != nil:
		v, ok = c.resourceRef(field+".resourceFieldRef", from.ResourceFieldRef)
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		optional = or(r.Optional, false)
		v, ok = c.keyOf(field+".configMapKeyRef", "ConfigMap", r.Name, r.Key, optional)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		optional = or(r.Optional, false)
		v, ok = c.keyOf(field+".secretKeyRef", "Secret", r.Name, r.Key, optional)
	}
	return v, optional, ok
}

// keyOf returns the value of a key. If no file has the object, it is an item of the job's Nomad
// variable.
func (c *container) keyOf(field, kind, name, key string, optional bool) (value, bool) {
	o := c.j.im.lookup(kind, c.j.of.ns(), name)
	if o == nil {
		c.find(field, Decision, "%s %q is in none of the files; store its value in the Nomad variable, as item %s", kind, name, c.j.vars.item(kind, name, key))
		return value{{item: c.j.vars.item(kind, name, key)}}, true
	}
	c.j.use(o)
	v, ok := c.j.data(o, key, true)
	switch {
	case !ok && optional:
		return nil, false
	case !ok:
		c.wrong(field+".key", "%s has no key %q.", o, key)
		return nil, false
	}
	if s, fixed := v.fixed(); fixed {
		c.mentionIn(o, "data."+key, key, s)
	}
	return v, true
}

// print adds the env block, and a template for variables with secrets.
func (e environment) print(c *container, b *block) {
	var plain []pair
	var rendered []variable
	for _, v := range e {
		s, fixed := v.value.fixed()
		hazard := fixed && slices.ContainsFunc(reference.FindAllString(s, -1), func(ref string) bool { return e.replaced(ref[2 : len(ref)-1]) })
		if v.value.secret() || hazard {
			rendered = append(rendered, v)
			continue
		}
		plain = append(plain, pair{v.name, v.value.hcl()})
	}
	b.pairs("env", plain)
	if len(rendered) > 0 {
		b.add(c.envTemplate(rendered))
	}
}

// envTemplate returns a template that sets variables. Kubernetes does not restart a container when
// a Secret changes.
func (c *container) envTemplate(variables []variable) *block {
	secret, required := false, false
	var lines strings.Builder
	for _, v := range variables {
		if !envName.MatchString(v.name) {
			c.wrong("env", "variable %q has a value from a Secret, and a name that templates cannot set; use letters, digits and underscores.", v.name)
			continue
		}
		secret = secret || v.value.secret()
		required = required || v.value.secret() && !v.optional
		line := fmt.Sprintf("%s={{ %s | toJSON }}\n", v.name, v.value.action())
		if v.optional && len(v.value) == 1 && v.value[0].item != "" {
			line = fmt.Sprintf("{{ with (index . %q).Value }}%s={{ . | toJSON }}{{ end }}\n", v.value[0].item, v.name)
		}
		lines.WriteString(line)
	}
	text := lines.String()
	if secret {
		text = c.j.vars.with(c.j, text, required)
	}
	b := &block{kind: "template"}
	b.text("destination", "secrets/env")
	b.flag("env")
	if secret {
		b.text("change_mode", "noop")
		if required {
			b.flag("error_on_missing_key")
		}
	}
	b.attr("data", heredoc(text))
	return b
}

// keys returns the keys of a ConfigMap or Secret, sorted.
func keys(o *object) []string {
	all := map[string]bool{}
	switch d := o.value.(type) {
	case *corev1.ConfigMap:
		for k := range d.Data {
			all[k] = true
		}
		for k := range d.BinaryData {
			all[k] = true
		}
	case *corev1.Secret:
		for k := range d.Data {
			all[k] = true
		}
		for k := range d.StringData {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

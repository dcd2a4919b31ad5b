package kube

import "strings"

// value is a text with parts that only the client knows.
type value []part

// part is one of: a literal, the name of a variable of Nomad's such as NOMAD_ALLOC_ID, or an item
// of the job's Nomad variable.
type part struct {
	literal, nomad, item string
}

func literal(s string) value {
	if s == "" {
		return nil
	}
	return value{{literal: s}}
}

// secret reports whether a part is an item of a variable.
func (v value) secret() bool {
	for _, p := range v {
		if p.item != "" {
			return true
		}
	}
	return false
}

// fixed returns the value if all of it is literal.
func (v value) fixed() (string, bool) {
	var out strings.Builder
	for _, p := range v {
		if p.nomad != "" || p.item != "" {
			return "", false
		}
		out.WriteString(p.literal)
	}
	return out.String(), true
}

func (v value) size() int {
	n := 0
	for _, p := range v {
		n += len(p.literal) + len(p.nomad) + len(p.item)
	}
	return n
}

// hcl returns a value without secrets as HCL, for the environment, in which the client replaces
// references only.
func (v value) hcl() string {
	if s, ok := v.fixed(); ok {
		return expression(s)
	}
	return v.interpolated(inner)
}

// config returns a value as HCL for a task's config, which the client evaluates again.
func (v value) config() string {
	if s, ok := v.fixed(); ok {
		return expression(escaped(s))
	}
	return v.interpolated(func(s string) string { return inner(escaped(s)) })
}

func (v value) interpolated(quote func(string) string) string {
	var out strings.Builder
	for _, p := range v {
		if p.nomad != "" {
			out.WriteString("${" + p.nomad + "}")
		} else {
			out.WriteString(quote(p.literal))
		}
	}
	return `"` + out.String() + `"`
}

// action returns a value as a pipeline of a template that gives one string.
func (v value) action() string {
	if len(v) == 1 && v[0].nomad != "" {
		return `env "` + v[0].nomad + `"`
	}
	var args []string
	for _, p := range v {
		switch {
		case p.nomad != "":
			args = append(args, `(env "`+p.nomad+`")`)
		case p.item != "":
			args = append(args, "."+p.item+".Value")
		default:
			args = append(args, goQuote(p.literal))
		}
	}
	switch {
	case len(args) == 0:
		return `""`
	case len(args) == 1:
		return args[0]
	}
	return "print " + strings.Join(args, " ")
}

// goQuote returns a string as a literal of a template.
func goQuote(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteString(`\` + string(r))
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\r':
			out.WriteString(`\r`)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

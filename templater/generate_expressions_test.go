package templater_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// expressions writes expressions with a given value, in the forms that people write, and the
// variables, local values and files that they use.
type expressions struct {
	r     *rand.Rand
	depth int
	// vars are the values of the declared variables, as -var takes them; types are their types.
	vars, types map[string]string
	declared    strings.Builder // variables with a default
	locals      []string
	files       map[string]string
	// futures are the values of calls of a function that does not exist, as future("0").
	futures []string
}

func newExpressions(r *rand.Rand) *expressions {
	return &expressions{r: r, vars: map[string]string{}, types: map[string]string{}, files: map[string]string{}}
}

// head declares everything that the expressions use.
func (e *expressions) head() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.types)) {
		typ := ""
		if e.types[name] != "" {
			typ = "\n  type = " + e.types[name] + "\n"
		}
		fmt.Fprintf(&b, "variable %q {%s}\n", name, typ)
	}
	b.WriteString(e.declared.String())
	for i, l := range e.locals {
		fmt.Fprintf(&b, "locals {\n  l%d = %s\n}\n", i, l)
	}
	return b.String()
}

func (e *expressions) chance(n int) bool { return e.r.IntN(n) == 0 }

// inner writes a part of an expression, which is a constant at some depth.
func (e *expressions) inner(write func() string, constant string) string {
	if e.depth >= 4 || e.r.IntN(4) < min(2, 1+e.depth) {
		return constant
	}
	e.depth++
	defer func() { e.depth-- }()
	return write()
}

// variable declares a variable of a type with a value: text for strings and numbers.
func (e *expressions) variable(typ, value, literal string) string {
	name := fmt.Sprintf("v%d", len(e.types)+strings.Count(e.declared.String(), "variable"))
	switch e.r.IntN(10) {
	case 0:
		fmt.Fprintf(&e.declared, "variable %q {\n  type = %s\n  default = %s\n}\n", name, typ, literal)
	case 1:
		fmt.Fprintf(&e.declared, "variables {\n  %s = %s\n}\n# variable\n", name, literal)
	default:
		e.types[name], e.vars[name] = typ, value
	}
	return "var." + name
}

func (e *expressions) local(expr string) string {
	e.locals = append(e.locals, expr)
	return fmt.Sprintf("local.l%d", len(e.locals)-1)
}

func (e *expressions) future(literal string) string {
	e.futures = append(e.futures, literal)
	return fmt.Sprintf("future(%q)", strconv.Itoa(len(e.futures)-1))
}

// common writes one of the forms that fit any type.
func (e *expressions) common(write func() string, other, literal, typ, value string) string {
	switch e.r.IntN(13) {
	case 0, 1, 2:
		return e.variable(typ, value, literal)
	case 3:
		return e.local(write())
	case 4:
		if b := e.chance(2); b {
			return fmt.Sprintf("(%s ? %s : %s)", e.flag(true), write(), other)
		}
		return fmt.Sprintf("(%s ? %s : %s)", e.flag(false), other, write())
	case 5:
		return fmt.Sprintf("try(%s, %s)", write(), other)
	case 6:
		return fmt.Sprintf("try(%s.missing, %s)", e.variable("object({ a = string })", `{ a = "x" }`, `{ a = "x" }`), write())
	case 7:
		return fmt.Sprintf("{ a = %s, b = %s }.a", write(), e.text("b"))
	case 8:
		return fmt.Sprintf("(can(%s) ? %s : %s)", e.text("x"), write(), other)
	case 9:
		return e.future(literal)
	case 10:
		return fmt.Sprintf("try(%s, %s)", e.future(literal), other)
	case 11:
		return fmt.Sprintf("(can(%s) ? %s : %s)", e.future(`"x"`), literal, other)
	default:
		return fmt.Sprintf("(%s)", write())
	}
}

// text writes a string.
func (e *expressions) text(v string) string {
	literal := strconv.Quote(v)
	again := func() string { return e.text(v) }
	return e.inner(func() string {
		switch e.r.IntN(22) {
		case 0:
			cut := e.r.IntN(len(v) + 1)
			return fmt.Sprintf(`"${%s}${%s}"`, e.text(v[:cut]), e.text(v[cut:]))
		case 1:
			return fmt.Sprintf(`lookup(%s, "k", "other")`, e.object(map[string]string{"k": v, "o": "x"}))
		case 2:
			return fmt.Sprintf(`lookup(%s, "k", %s)`, e.object(map[string]string{"o": "x"}), again())
		case 3:
			return e.local(e.object(map[string]string{"k": v, "o": "x"})) + []string{".k", `["k"]`}[e.r.IntN(2)]
		case 4:
			return e.local(e.list(v, "x")) + "[0]"
		case 5:
			return fmt.Sprintf(`join("", [for c in %s : c])`, e.list(v))
		case 6:
			return fmt.Sprintf("coalesce(null, %s)", again())
		case 7:
			return fmt.Sprintf(`trimspace(" ${%s} ")`, again())
		case 8:
			return fmt.Sprintf("jsondecode(jsonencode({ a = %s })).a", again())
		case 9:
			name := fmt.Sprintf("f%d", len(e.files))
			e.files[name] = v
			return []string{fmt.Sprintf("file(%q)", name), fmt.Sprintf("try(file(%q), \"other\")", name)}[e.r.IntN(2)]
		case 10:
			return fmt.Sprintf("chomp(<<EOT\n${%s}\nEOT\n)", again())
		case 11:
			return fmt.Sprintf(`"%%{ if %s }${%s}%%{ else }other%%{ endif }"`, e.flag(true), again())
		case 12:
			return fmt.Sprintf(`join("", [{ a = %s }][*].a)`, again())
		case 13:
			return fmt.Sprintf(`format("%%s", %s)`, again())
		case 14:
			return fmt.Sprintf("element(%s, 0)", e.list(v, "x"))
		case 15:
			return fmt.Sprintf(`[for k, v in %s : v if k == "k"][0]`, e.object(map[string]string{"k": v, "o": "x"}))
		case 16:
			return fmt.Sprintf("convert(%s, string)", again())
		case 17:
			return fmt.Sprintf(`"%%{ for c in %s }${c}%%{ endfor }"`, e.list(v))
		default:
			return e.common(again, `"other"`, literal, "string", v)
		}
	}, literal)
}

// number writes a whole number.
func (e *expressions) number(v int) string {
	literal := strconv.Itoa(v)
	again := func() string { return e.number(v) }
	return e.inner(func() string {
		switch e.r.IntN(8) {
		case 0:
			return e.text(literal)
		case 1:
			return fmt.Sprintf("parseint(%s, 10)", e.text(literal))
		case 2:
			return fmt.Sprintf("(%s + 1)", e.number(v-1))
		case 3:
			return fmt.Sprintf("max(%s, -1)", again())
		case 4:
			return fmt.Sprintf("length(%s) + %d", e.list("a", "b"), v-2)
		default:
			return e.common(again, "7", literal, "number", literal)
		}
	}, literal)
}

// flag writes a bool.
func (e *expressions) flag(v bool) string {
	literal := strconv.FormatBool(v)
	again := func() string { return e.flag(v) }
	return e.inner(func() string {
		switch e.r.IntN(9) {
		case 0:
			return fmt.Sprintf(`(%s == "%s")`, e.text("x"), map[bool]string{true: "x", false: "y"}[v])
		case 1:
			return fmt.Sprintf(`contains(%s, "%s")`, e.list("x", "z"), map[bool]string{true: "x", false: "y"}[v])
		case 2:
			return fmt.Sprintf("!%s", e.flag(!v))
		case 3:
			return fmt.Sprintf("(%s %s null)", e.text("x"), map[bool]string{true: "!=", false: "=="}[v])
		case 4:
			return fmt.Sprintf("(%s && %s)", again(), e.flag(true))
		case 5:
			return fmt.Sprintf("can(%s.%s)", e.local(e.object(map[string]string{"a": "x"})), map[bool]string{true: "a", false: "b"}[v])
		default:
			return e.common(again, "false", literal, "bool", literal)
		}
	}, literal)
}

// list writes a list of strings.
func (e *expressions) list(v ...string) string {
	words := func(quote func(string) string) string {
		out := make([]string, len(v))
		for i, w := range v {
			out[i] = quote(w)
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	literal := words(strconv.Quote)
	again := func() string { return e.list(v...) }
	return e.inner(func() string {
		switch e.r.IntN(10) {
		case 0, 1:
			return words(e.text)
		case 2:
			cut := e.r.IntN(len(v) + 1)
			return fmt.Sprintf("concat(%s, %s)", e.list(v[:cut]...), e.list(v[cut:]...))
		case 3:
			return fmt.Sprintf("[for x in %s : x if x != %s]", e.list(append(slices.Clone(v), "gone")...), e.text("gone"))
		case 4:
			return fmt.Sprintf("flatten([%s, []])", again())
		case 5:
			return fmt.Sprintf(`slice(concat(%s, ["gone"]), 0, %d)`, again(), len(v))
		default:
			return e.common(again, `["other"]`, literal, "list(string)", literal)
		}
	}, literal)
}

// object writes a map of strings.
func (e *expressions) object(v map[string]string) string {
	keys := slices.Sorted(maps.Keys(v))
	items := func(key, value func(string) string) string {
		var out []string
		for _, k := range keys {
			out = append(out, fmt.Sprintf("%s = %s", key(k), value(v[k])))
		}
		return "{ " + strings.Join(out, ", ") + " }"
	}
	literal := items(strconv.Quote, strconv.Quote)
	again := func() string { return e.object(v) }
	objectType := "object({ " + strings.Join(keys, " = string, ") + " = string })"
	if len(keys) == 0 || strings.Contains(objectType, ".") {
		objectType = "map(string)" // whose keys may have dots
	}
	part := func(of []string) map[string]string {
		out := map[string]string{}
		for _, k := range of {
			out[k] = v[k]
		}
		return out
	}
	return e.inner(func() string {
		switch e.r.IntN(11) {
		case 0, 1:
			return items(strconv.Quote, e.text)
		case 2:
			return items(func(k string) string { return "(" + e.text(k) + ")" }, e.text)
		case 3, 4:
			cut := e.r.IntN(len(keys) + 1)
			return fmt.Sprintf("merge(%s, %s)", e.object(part(keys[:cut])), e.object(part(keys[cut:])))
		case 5:
			return fmt.Sprintf("{ for k, v in %s : k => v }", again())
		case 6:
			var list []string
			for _, k := range keys {
				list = append(list, v[k])
			}
			return fmt.Sprintf("zipmap(%s, %s)", e.list(keys...), e.list(list...))
		case 7:
			return fmt.Sprintf("{ for k, v in %s : k => v if v != %s }", e.object(with1(v, "gone", "gone")), e.text("gone"))
		default:
			return e.common(again, `{ other = "x" }`, literal, []string{"map(string)", objectType}[e.r.IntN(2)], literal)
		}
	}, literal)
}

func with1(v map[string]string, key, value string) map[string]string {
	out := maps.Clone(v)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

package templater_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// bomb is an expression that would build or take very much, and the locals that it needs.
type bomb struct{ locals, expr, says string }

// doubled are local values each of which holds the one before it several times.
func doubled(first, format string) string {
	out := "  l0 = " + first + "\n"
	for i := 1; i <= 60; i++ {
		out += fmt.Sprintf("  l%d = "+format+"\n", i, i-1, i-1)
	}
	return out
}

func bombs() map[string]bomb {
	thousand := "  k = range(1000)\n"
	mega := thousand + "  m = join(\"\", [for a in local.k : format(\"%1000d\", a)])\n"
	const size, steps, range_ = "Value too large", "Expressions take too long", "Number out of range"
	const refused = "the result would have more than 16 MiB"
	return map[string]bomb{
		"loops":              {thousand, "[for a in local.k : [for b in local.k : [for c in local.k : [for d in local.k : d]]]]", ""},
		"loops of nothing":   {thousand, "length([for a in local.k : a if length([for b in local.k : b if length([for c in local.k : c if false]) > 0]) > 0])", steps},
		"loops of errors":    {thousand, "[for a in local.k : [for b in local.k : [for c in local.k : upper(a, b, c, 1)]]]", ""},
		"objects of loops":   {thousand, `{ for a in local.k : "${a}" => { for b in local.k : "${b}" => { for c in local.k : "${c}" => 1 } } }`, ""},
		"splats":             {thousand, "[for a in local.k : [for b in local.k : local.k[*]]]", ""},
		"directives":         {thousand, `"%{ for a in local.k }%{ for b in local.k }%{ for c in local.k }xxxxxxxxxx%{ endfor }%{ endfor }%{ endfor }"`, ""},
		"hidden by try":      {thousand, `try([for a in local.k : [for b in local.k : [for c in local.k : c]]], "fine")`, ""},
		"hidden by can":      {thousand, `can([for a in local.k : [for b in local.k : [for c in local.k : c]]])`, ""},
		"in a choice":        {thousand, `true ? "x" : join("", [for a in local.k : join("", [for b in local.k : join("", [for c in local.k : "${c}"])])])`, steps},
		"doubled strings":    {doubled(`"0123456789"`, `"${local.l%d}${local.l%d}"`), "local.l60", size},
		"doubled lists":      {doubled(`[1]`, `[local.l%d, local.l%d]`), "local.l60", size},
		"doubled, in a call": {doubled(`[1]`, `concat([local.l%d], [local.l%d])`), "jsonencode(local.l60)", ""},
		"doubled objects":    {doubled(`{ a = 1 }`, `{ a = local.l%d, b = local.l%d }`), "local.l60 == local.l60", size},
		"format":             {"", `format("%1000000000d", 1)`, refused}, "format of digits": {"", `format("%.999999999999999999999f", 1)`, refused},
		"format many times": {mega, "format(\"" + strings.Repeat("%[1]s", 100) + "\", local.m)", refused},
		"formatlist":        {mega, `formatlist("%s%s", local.m, local.k)`, refused}, "join": {mega, `join(local.m, local.k)`, refused},
		"join twice": {mega, `join(local.m, [for x in local.k : "x"])`, refused}, "replace": {mega, `replace(local.m, " ", local.m)`, refused},
		"replace by a pattern": {mega, `replace(local.m, "/ /", "0123456789012345678901234567890")`, refused}, "regex_replace": {mega, `regex_replace(local.m, "", local.m)`, refused},
		"groups": {mega, `regex_replace(local.m, "^.*$", "$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0")`, refused}, "setproduct": {thousand, "setproduct(local.k, local.k, local.k, local.k)", refused},
		"indent": {mega, "indent(1000000000, local.m)", refused}, "split": {mega, `split("", local.m)`, refused}, "split by one": {mega, `split(" ", local.m)`, refused},
		"distinct": {thousand, "distinct(concat(local.k, local.k, local.k))", "more than 2000 items"}, "range": {"", "range(100000)", "more than 1024"},
		"JSON of lists": {"  m = join(\"\", [for a in range(1000) : replace(format(\"%600d\", 0), \" \", \"[\")])\n", `jsondecode(local.m)`, "levels deep"},
		"JSON":          {"  m = join(\",\", [for a in range(1000) : replace(format(\"%600d\", 1), \" \", \"0,\")])\n", `jsondecode("[${local.m}]")`, refused},
		"YAML":          {"", `yamldecode(` + yamlBomb() + `)`, "more than 8 aliases"}, "YAML of lists": {"", `yamldecode(replace(format("%5000d", 1), " ", "- "))`, "levels deep"},
		"CSV":         {"  m = join(\"\", [for a in range(1000) : \",a${a}\"])\n  r = join(\"\\n\", [for a in range(1000) : \"\"])\n", `csvdecode("x${local.m}${local.r}")`, refused},
		"huge number": {"", "1e999999999", range_}, "huge number in a text": {"  n = 1e1000\n", `"x${local.n * local.n}"`, range_},
		"huge key": {"  n = 1e1000\n", `{ (local.n * local.n) = 1 }`, range_}, "huge argument": {"  n = 1e1000\n", `upper(local.n * local.n)`, range_},
		"huge index": {"  n = 1e1000\n", `{ a = 1 }[local.n * local.n]`, range_}, "huge, chosen": {"  n = 1e1000\n", `true ? local.n * local.n : "x"`, range_},
		"parts": {mega, "\"" + strings.Repeat("${local.m}", 500) + "\"", ""}, "trim": {mega, `trim(local.m, local.m)`, "characters to trim"}, "parseint": {mega, `parseint(replace(local.m, " ", "1"), 10)`, "too large"},
	}
}

// yamlBomb is a text of a few lines that stands for very many.
func yamlBomb() string {
	lines := `a0: &a0 [x, x]`
	for i := 1; i < 40; i++ {
		lines += fmt.Sprintf(`\na%d: &a%d [*a%d, *a%d]`, i, i, i-1, i-1)
	}
	return `"` + lines + `"`
}

// within holds what happens to bounds of memory; that it ends at all, the bounds of
// steps do.
func within(t *testing.T, do func() hcl.Diagnostics) hcl.Diagnostics {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	diags := do()
	runtime.ReadMemStats(&after)
	must.Less(t, 3<<30, after.TotalAlloc-before.TotalAlloc)
	return diags
}

// defused is one error in a line of a file, of bounded length.
func defused(t *testing.T, diags hcl.Diagnostics, b bomb, file string, line int) {
	t.Helper()
	must.SliceNotEmpty(t, diags.Errs())
	d := diags[0]
	must.StrContains(t, d.Summary+": "+d.Detail, b.says)
	must.NotNil(t, d.Subject, must.Sprint(d))
	must.Eq(t, file, d.Subject.Filename)
	must.Between(t, 2, d.Subject.Start.Line, line)
	must.Less(t, 4000, len(d.Error()))
	must.Less(t, 1100, len(diags))
}

func TestHostileExpressionsInADefinition(t *testing.T) {
	for name, b := range bombs() {
		t.Run(name, func(t *testing.T) {
			src := "sidecar \"x\" {\n  version = \"1.0.0\"\n  locals {\n" + b.locals + "  }\n  task \"x\" {\n    driver = \"pod\"\n    config {\n      a = " + b.expr + "\n    }\n  }\n}\n"
			diags := within(t, func() hcl.Diagnostics {
				d, diags := sidecar.Parse([]byte(src), "x.sidecar.hcl")
				if d == nil {
					return diags
				}
				_, diags = d.Evaluate(sidecar.Scope{Count: cty.NumberIntVal(1)}, map[string]cty.Value{})
				return diags
			})
			defused(t, diags, b, "x.sidecar.hcl", strings.Count(src, "\n")-3)
		})
	}
}

func TestHostileExpressionsInAJob(t *testing.T) {
	for _, name := range []string{"loops", "hidden by try", "doubled strings", "doubled objects", "format", "join", "YAML", "JSON of lists", "huge number in a text"} {
		b := bombs()[name]
		t.Run(name, func(t *testing.T) {
			// Injection looks at the name only; Nomad's parser at all of it.
			for _, src := range []string{
				"locals {\n" + b.locals + "}\njob \"j\" {\n  name = " + b.expr + "\n}\n",
				"locals {\n" + b.locals + "}\njob \"j\" {\n  group \"g\" {\n    task \"t\" {\n      template {\n        data = " + b.expr + "\n      }\n    }\n  }\n}\n",
			} {
				diags := within(t, func() hcl.Diagnostics {
					f, diags := hcljob.Parse([]byte(src), "job.hcl", hcljob.Inputs{BaseDir: "."})
					if f != nil {
						_, diags = f.JSON()
					}
					return diags
				})
				defused(t, diags, b, "job.hcl", strings.Count(src, "\n"))
			}
		})
	}
	src := "job \"j\" {\n  dynamic \"group\" {\n    for_each = range(1000)\n    labels = [\"g\"]\n    content {\n      dynamic \"task\" {\n        for_each = range(1000)\n        iterator = t\n        content {\n          user = join(\"\", [for a in range(1000) : \"${a}${group.value}${t.value}\"])\n        }\n      }\n    }\n  }\n}\n"
	diags := within(t, func() hcl.Diagnostics {
		_, diags := hcljob.Parse([]byte(src), "job.hcl", hcljob.Inputs{BaseDir: "."})
		return diags
	})
	defused(t, diags, bomb{}, "job.hcl", 10)
}

func TestHostileExpressionsInAJob_Hashes(t *testing.T) {
	job := func(value string) string {
		return "job \"j\" {\n  group \"g\" {\n    meta {\n      a = " + value + "\n    }\n  }\n}\n"
	}
	for value, says := range map[string]string{
		`bcrypt("x", 31)`:                                             "the cost is more than 14",
		`try(bcrypt("x", 31), "y")`:                                   "the cost is more than 14",
		`join("", [for i in range(1000) : bcrypt("${i}")])`:           "take more time than 256 of the default cost",
		`join("", [for i in range(1000) : bcrypt("${i}", 14)])`:       "take more time than 256 of the default cost",
		`join("", [for i in range(1000) : bcrypt("${i}", 5 + i%10)])`: "take more time than 256 of the default cost",
	} {
		f, diags := hcljob.Parse([]byte(job(value)), "job.hcl", hcljob.Inputs{BaseDir: "."})
		if f != nil {
			_, diags = f.JSON()
		}
		defused(t, diags, bomb{says: says}, "job.hcl", 4)
	}
	f, diags := hcljob.Parse([]byte(job(`bcrypt("x", 4)`)), "job.hcl", hcljob.Inputs{BaseDir: "."})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	_, diags = f.JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
}

func TestHostileExpressionsElsewhere(t *testing.T) {
	const loops = "[for a in L : [for b in L : [for c in L : [for d in L : d]]]]"
	list := "[" + strings.Repeat("1, ", 300) + "]"
	constant := strings.ReplaceAll(loops, "L", list)
	at := hcl.Range{Filename: "job.hcl", Start: hcl.Pos{Line: 3}}
	def, diags := sidecar.Parse([]byte("sidecar \"x\" {\n  version = \"1.0.0\"\n  parameter \"p\" {\n    type = any\n    default = []\n    validation {\n      condition = length([for a in param.p : [for b in param.p : [for c in param.p : c]]]) >= 0\n      error_message = \"x\"\n    }\n  }\n  parameter \"l\" {\n    type = list(any)\n    default = []\n  }\n  task \"x\" {}\n}\n"), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	thousand := make([]cty.Value, 1000)
	for i := range thousand {
		thousand[i] = cty.NumberIntVal(int64(i))
	}
	diags = within(t, func() hcl.Diagnostics {
		_, diags := def.Bind(map[string]sidecar.Argument{"p": {Value: cty.ListVal(thousand), Range: at}}, at)
		return diags
	})
	defused(t, diags, bomb{says: "Expressions take too long"}, "x.sidecar.hcl", 7)
	diags = within(t, func() hcl.Diagnostics {
		_, diags := def.Bind(map[string]sidecar.Argument{"l": {Value: cty.StringVal(constant), Text: true, Range: at}}, at)
		return diags
	})
	defused(t, diags, bomb{says: "Wrong type of parameter"}, "job.hcl", 3)

	for name, do := range map[string]func() hcl.Diagnostics{
		"default": func() hcl.Diagnostics {
			_, diags := sidecar.Parse([]byte("sidecar \"x\" {\n  version = \"1.0.0\"\n  parameter \"p\" {\n    default = "+constant+"\n  }\n  task \"x\" {}\n}\n"), "f")
			return diags
		},
		"summary": func() hcl.Diagnostics {
			_, diags := sidecar.Parse([]byte("sidecar \"x\" {\n  version = \"1.0.0\"\n  summary = "+constant+"\n  task \"x\" {}\n}\n"), "f")
			return diags
		},
		"policy": func() hcl.Diagnostics {
			p := &policy.Policy{}
			diags := p.Add([]byte("rule \"r\" {\n  validation {\n    condition = job.id == \"\" || length("+constant+") > 0\n    error_message = \"x\"\n  }\n}\n"), "f")
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			return p.Check(parseHCL(t, []byte("job \"j\" {\n  group \"g\" {}\n}\n")).Job(), nil)
		},
		"version of a rule": func() hcl.Diagnostics {
			return (&policy.Policy{}).Add([]byte("rule \"r\" {\n  inject \"x\" {\n    version = "+constant+"\n  }\n}\n"), "f")
		},
		"variable": func() hcl.Diagnostics {
			_, diags := hcljob.Parse([]byte("\nvariable \"v\" {\n  default = "+constant+"\n}\njob \"j\" {}\n"), "f", hcljob.Inputs{})
			return diags
		},
	} {
		defused(t, within(t, do), bomb{}, "f", 4)
		t.Log(name)
	}
}

// What people write is far from the bounds.
func TestOrdinaryExpressionsAreWithinBounds(t *testing.T) {
	src := "locals {\n  k = range(1000)\n  m = join(\"\", [for a in local.k : format(\"%1000d\", a)])\n  p = setproduct(range(100), range(100))\n  n = [for a in range(300) : [for b in range(300) : b]]\n}\njob \"j\" {\n  name = \"${length(local.n)} ${length(local.p)} ${length(split(\",\", join(\",\", local.k)))}${try(local.none, \"!\")}${can(local.none)}\"\n  meta {\n    m = local.m\n    j = jsonencode(jsondecode(\"[1,{\\\"a\\\":[2]}]\"))\n    y = yamlencode(yamldecode(\"a: &x 1\\nb: *x\"))\n    r = regex_replace(\"abc\", \"(b)\", \"<$1>\")\n    c = convert(5, string)\n    s = length(local.k[*])\n  }\n}\n"
	f := parseHCL(t, []byte(src))
	must.Eq(t, "300 10000 1000!false", f.Job().Name.Value)
	must.Eq(t, 1_000_000, len(f.Job().Meta["m"].Value))
	must.Eq(t, "a<b>c", f.Job().Meta["r"].Value)
	must.Eq(t, "5", f.Job().Meta["c"].Value)
	must.Eq(t, `[1,{"a":[2]}]`, f.Job().Meta["j"].Value)
	must.StrContains(t, f.Job().Meta["y"].Value, `"b": 1`)
	must.Nil(t, bounds.Check(cty.StringVal(f.Job().Meta["m"].Value)))
}

// Very many local values cost no more than in proportion.
func TestManyLocalValues(t *testing.T) {
	var locals strings.Builder
	const many = 30_000
	for i := range many {
		fmt.Fprintf(&locals, "    l%d = local.l%d\n", i, i+1)
	}
	d, diags := sidecar.Parse([]byte("sidecar \"x\" {\n  version = \"1.0.0\"\n  locals {\n"+locals.String()+fmt.Sprintf("    l%d = 1\n", many)+"  }\n  task \"x\" {\n    user = local.l0\n  }\n}\n"), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	inst, diags := d.Evaluate(sidecar.Scope{Count: cty.NumberIntVal(1)}, nil)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.True(t, inst.Tasks[0].Body.Attr("user").Value.RawEquals(cty.NumberIntVal(1)))
}

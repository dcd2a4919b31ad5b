package sidecar

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
)

func parse(t *testing.T, body string) *Definition {
	t.Helper()
	d, diags := Parse([]byte("sidecar \"x\" {\n"+body+"\n}\n"), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return d
}

func problem(t *testing.T, body string) *hcl.Diagnostic {
	t.Helper()
	_, diags := Parse([]byte("sidecar \"x\" {\n"+body+"\n}\n"), "x.sidecar.hcl")
	must.Len(t, 1, diags.Errs(), must.Sprint(diags))
	return diags[0]
}

const minimal = "version = \"1.0.0\"\ntask \"x\" {}\n"

func TestParseReportsOneErrorWithItsPlace(t *testing.T) {
	for name, c := range map[string]struct{ body, summary string }{
		"no version":       {"task \"x\" {}", "Missing required argument"},
		"no semver":        {"version = \"1\"\ntask \"x\" {}", ""},
		"nothing":          {"version = \"1.0.0\"", "Nothing to inject"},
		"same parameter":   {minimal + "parameter \"p\" {}\nparameter \"p\" {}", "Duplicate parameter"},
		"same task":        {minimal + "task \"x\" {}", "Duplicate task"},
		"two apps":         {minimal + "app {}\napp {}", "Duplicate app block"},
		"taken name":       {minimal + "parameter \"version\" {}", "Invalid parameter name"},
		"task name":        {minimal + "task \"a/b\" {}", "Invalid task name"},
		"task alloc":       {minimal + "task \"alloc\" {}", "Invalid task name"},
		"type":             {minimal + "parameter \"p\" { type = integer }", "Invalid type specification"},
		"default null":     {minimal + "parameter \"p\" {\n default = null\n nullable = false\n}", "Invalid default"},
		"default invalid":  {minimal + "parameter \"p\" {\n default = 1\n validation {\n condition = param.p > 1\n error_message = \"no\"\n }\n}", "Invalid value of parameter"},
		"condition sees":   {minimal + "parameter \"p\" {\n validation {\n condition = job.id == \"\"\n error_message = \"no\"\n }\n}", "Invalid reference"},
		"network":          {minimal + "requires { network = [\"brigde\"] }", "Invalid network"},
		"share":            {minimal + "requires { share = [\"net\"] }", "Invalid share"},
		"nomad":            {minimal + "requires { nomad = \"new\" }", "Invalid version constraint"},
		"env":              {minimal + "api {\n env \"a-b\" { value = 1 }\n}", "Invalid env"},
		"signal":           {minimal + "api {\n signal \"HUP\" {}\n}", "Invalid signal"},
		"access":           {minimal + "api {\n directory \"alloc/x\" { access = \"all\" }\n}", "Invalid access"},
		"dynamic":          {"version = \"1.0.0\"\ntask \"x\" {\n dynamic \"env\" {}\n}", "Invalid dynamic block"},
		"encoding":         {minimal + "# caf\xe9\n", "Invalid character encoding"},
		"dynamic label":    {"version = \"1.0.0\"\ntask \"x\" {\n dynamic {}\n}", "Invalid dynamic block"},
		"dynamic argument": {"version = \"1.0.0\"\ntask \"x\" {\n dynamic \"template\" {\n foreach = []\n content {}\n }\n}", "Unsupported argument"},
		"dynamic iterator": {"version = \"1.0.0\"\ntask \"x\" {\n dynamic \"template\" {\n for_each = []\n iterator = job\n content {}\n }\n}", "Invalid iterator"},
		"dynamic scope":    {"version = \"1.0.0\"\ntask \"x\" {\n dynamic \"template\" {\n for_each = [1]\n content {\n data = x.value\n }\n }\n}", "Unknown reference"},
		"dynamic in app":   {minimal + "app {\n dynamic \"env\" {\n for_each = []\n content {}\n }\n}", "Invalid dynamic block"},
		"unknown local":    {"version = \"1.0.0\"\ntask \"x\" {\n driver = local.y\n}", "Unknown local value"},
		"circular locals":  {minimal + "locals {\n a = local.b\n b = local.a\n}", "Circular local value"},
		"same local":       {minimal + "locals {\n a = 1\n}\nlocals {\n a = 2\n}", "Duplicate local value"},
		"local condition":  {minimal + "locals {\n a = 1\n}\nparameter \"p\" {\n validation {\n condition = local.a == 1\n error_message = \"no\"\n }\n}", "Invalid reference"},
		"only a service":   {"version = \"1.0.0\"\nservice {}", "Nothing to inject"},
		"block in locals":  {minimal + "locals {\n a {}\n}", "Invalid locals"},
		"job reference":    {"version = \"1.0.0\"\ntask \"x\" {\n driver = job.idd\n}", "Unknown reference"},
		"app reference":    {"version = \"1.0.0\"\ntask \"x\" {\n driver = app.task\n}", "Unknown reference"},
		"runtime reserved": {"version = \"1.0.0\"\ntask \"x\" {\n driver = \"${NOMADX}\"\n}", "Unknown reference"},
		"file function":    {"version = \"1.0.0\"\ntask \"x\" {\n driver = bcrypt(\"x\")\n}", "Unknown function"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.summary == "" {
				parse(t, c.body)
				return
			}
			d := problem(t, c.body)
			must.Eq(t, c.summary, d.Summary)
			must.NotNil(t, d.Subject)
			must.Eq(t, "x.sidecar.hcl", d.Subject.Filename)
		})
	}
}

func TestNameOfASidecar(t *testing.T) {
	for _, name := range []string{"", "X", "a_b", "inject", "exclude", "digest", "a.b", strings.Repeat("a", 64)} {
		_, diags := Parse([]byte("sidecar \""+name+"\" {\n"+minimal+"}\n"), "x")
		must.True(t, diags.HasErrors(), must.Sprint(name))
	}
}

func TestDigestIsThatOfTheMeaning(t *testing.T) {
	first := parse(t, "version = \"1.0.0\"\nsummary = \"a\"\ntask \"x\" {\n  driver = \"pod\"\n  user = \"u\"\n}").Digest
	must.StrHasPrefix(t, "sha256:", first)
	for _, same := range []string{
		"version = \"1.0.0\"\nsummary = \"b\"\ntask \"x\" {\n  driver = \"pod\"\n  user = \"u\"\n}",
		"# c\nversion   = \"1.0.0\" # c\ntask \"x\" {\n\n  user = \"u\" // c\n  driver = /* c */ \"pod\"\n}",
	} {
		must.Eq(t, first, parse(t, same).Digest)
	}
	for _, other := range []string{
		"version = \"1.0.1\"\ntask \"x\" {\n  driver = \"pod\"\n  user = \"u\"\n}",
		"version = \"1.0.0\"\ntask \"x\" {\n  driver = \"pod\"\n  user = \"v\"\n}",
		"version = \"1.0.0\"\ntask \"y\" {\n  driver = \"pod\"\n  user = \"u\"\n}",
		"version = \"1.0.0\"\ntask \"x\" {\n  driver = \"pod\"\n  user = \"u\"\n  meta {}\n}",
	} {
		must.NotEq(t, first, parse(t, other).Digest)
	}
}

func TestNullLeavesAnAttributeOut(t *testing.T) {
	d := parse(t, "version = \"1.0.0\"\nparameter \"p\" { default = null }\ntask \"x\" {\n driver = param.p\n config {\n a = { b = param.p, c = 1 }\n }\n}")
	values, diags := d.Bind(nil, d.Range)
	must.False(t, diags.HasErrors())
	inst, diags := d.Evaluate(Scope{}, values)
	must.False(t, diags.HasErrors())
	must.Eq(t, "task \"x\" {\n  config {\n    a = {\n      c = 1\n    }\n  }\n}\n", inst.Tasks[0].HCL(Style{}))
}

func TestEvaluateNeedsKnownValues(t *testing.T) {
	d := parse(t, "version = \"1.0.0\"\ntask \"x\" {\n config {\n a = group.count\n }\n}")
	_, diags := d.Evaluate(Scope{}, nil)
	must.Eq(t, "Unknown value", diags[0].Summary)
	inst, diags := d.Evaluate(Scope{Count: cty.NumberIntVal(3)}, nil)
	must.False(t, diags.HasErrors())
	must.StrContains(t, inst.Tasks[0].HCL(Style{}), "a = 3")
}

func TestPortMustBeAPort(t *testing.T) {
	for to, ok := range map[string]bool{"1": true, "65535": true, "\"80\"": true, "0": false, "65536": false, "1.5": false, "\"x\"": false} {
		d := parse(t, minimal+"api {\n port \"p\" { to = "+to+" }\n}")
		_, diags := d.Evaluate(Scope{}, nil)
		must.Eq(t, ok, !diags.HasErrors(), must.Sprint(to))
	}
}

func TestMarksCannotBeSetByADefinition(t *testing.T) {
	d := parse(t, "version = \"1.0.0\"\ntask \"x\" {\n meta = { \"sidecar.name\" = \"y\" }\n}")
	_, diags := d.Evaluate(Scope{}, nil)
	must.Eq(t, "Reserved meta", diags[0].Summary)
}

func TestValidationsSeeAllParameters(t *testing.T) {
	d := parse(t, minimal+"parameter \"a\" {\n type = number\n validation {\n condition = param.a < param.b\n error_message = \"a is less than b.\"\n }\n}\nparameter \"b\" { default = 5 }")
	_, diags := d.Bind(map[string]Argument{"a": {Value: cty.StringVal("4"), Text: true}}, d.Range)
	must.False(t, diags.HasErrors())
	_, diags = d.Bind(map[string]Argument{"a": {Value: cty.StringVal("5"), Text: true, From: "-param x.a"}}, d.Range)
	must.Len(t, 1, diags)
	must.StrContains(t, diags[0].Detail, "(given by -param x.a): a is less than b.")
}

// One Binder binds for many groups: what passed for one says nothing of other values,
// of another definition, or of values that fail.
func TestABinderValidatesWhatIsNew(t *testing.T) {
	rule := func(below string) *Definition {
		return parse(t, minimal+"parameter \"a\" {\n type = number\n validation {\n condition = param.a < "+below+"\n error_message = \"Less than "+below+".\"\n }\n}")
	}
	var b Binder
	five, ten := rule("5"), rule("10")
	for _, step := range []struct {
		d  *Definition
		a  int64
		ok bool
	}{{ten, 4, true}, {ten, 4, true}, {five, 7, false}, {five, 7, false}, {ten, 7, true}, {ten, 12, false}, {ten, 7, true}, {five, 4, true}, {five, 7, false}} {
		values, diags := b.Bind(step.d, map[string]Argument{"a": {Value: cty.NumberIntVal(step.a)}}, step.d.Range)
		must.Eq(t, step.ok, !diags.HasErrors(), must.Sprint(step))
		must.True(t, values["a"].RawEquals(cty.NumberIntVal(step.a)))
	}
}

func TestTextBecomesAnyType(t *testing.T) {
	d := parse(t, minimal+"parameter \"l\" { type = list(number) }\nparameter \"s\" { type = string }\nparameter \"b\" { type = bool }")
	text := func(s string) Argument { return Argument{Value: cty.StringVal(s), Text: true} }
	values, diags := d.Bind(map[string]Argument{"l": text("[1, 2]"), "s": text("[1"), "b": text("true")}, d.Range)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.True(t, values["l"].RawEquals(cty.ListVal([]cty.Value{cty.NumberIntVal(1), cty.NumberIntVal(2)})))
	must.Eq(t, "[1", values["s"].AsString())
	must.True(t, values["b"].True())
	for _, bad := range []string{"[1", "job.id", "[x]", "3"} {
		_, diags := d.Bind(map[string]Argument{"l": text(bad), "s": text(""), "b": text("true")}, d.Range)
		must.Len(t, 1, diags, must.Sprint(bad))
	}
}

func TestCatalogFindsTheNewestThatFits(t *testing.T) {
	definition := func(v string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("sidecar \"x\" {\nversion = \"" + v + "\"\ntask \"x\" {}\n}\n")}
	}
	c := &Catalog{}
	diags := c.Load(fstest.MapFS{
		"x/1.sidecar.hcl": definition("1.0.0"), "x/2.sidecar.hcl": definition("1.10.0"),
		"x/3.sidecar.hcl": definition("1.9.0"), "x/4.sidecar.hcl": definition("2.0.0-rc1"), "README.md": {},
	}, "first")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, "1.10.0", c.Find("x").Version.String())
	constraint := version.MustConstraints(version.NewConstraint("~> 1.9.0"))
	must.Eq(t, "1.9.0", c.Find("x", constraint).Version.String())
	must.Nil(t, c.Find("x", version.MustConstraints(version.NewConstraint("> 3"))))
	must.Nil(t, c.Find("y"))

	// What was loaded first wins; twice in one catalog is an error.
	diags = c.Load(fstest.MapFS{"y.sidecar.hcl": definition("1.9.0")}, "second")
	must.False(t, diags.HasErrors())
	must.Eq(t, "first/x/3.sidecar.hcl", c.Find("x", constraint).Filename())
	diags = c.Load(fstest.MapFS{"a.sidecar.hcl": definition("3.0.0"), "b.sidecar.hcl": definition("3.0.0")}, "third")
	must.Eq(t, "Duplicate sidecar", diags[0].Summary)
}

func TestHugeNumbersAreRefused(t *testing.T) {
	_, diags := Parse([]byte("sidecar \"x\" {\nversion = \"1.0.0\"\ntask \"x\" {\n config {\n a = [1e400000000]\n }\n}\n}"), "x.sidecar.hcl")
	must.Len(t, 1, diags)
	must.Eq(t, "Number out of range", diags[0].Summary)
	d := parse(t, "version = \"1.0.0\"\nlocals {\n n = 1e1000\n m = local.n * local.n\n}\ntask \"x\" {\n config {\n a = [local.m]\n }\n}")
	_, diags = d.Evaluate(Scope{}, nil)
	must.Len(t, 1, diags)
	must.Eq(t, "Number out of range", diags[0].Summary)
}

func TestParse_ManyExamples(t *testing.T) {
	body := minimal
	for i := range maxExamples {
		body += fmt.Sprintf("example \"%d\" {\n  parameters = {}\n}\n", i)
	}
	parse(t, body)
	must.Eq(t, "Too many examples", problem(t, body+"example \"more\" {\n  parameters = {}\n}\n").Summary)
}

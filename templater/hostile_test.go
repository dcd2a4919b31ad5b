package templater_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Texts that are made to break the program that reads them. Each is refused with one
// error of bounded length that says where.

// refusedAt holds diagnostics to that: one error, in a line of a file.
func refusedAt(t *testing.T, diags hcl.Diagnostics, summary string, line int) {
	t.Helper()
	must.Len(t, 1, diags.Errs(), must.Sprint(diags))
	must.Eq(t, summary, diags[0].Summary, must.Sprint(diags[0].Detail))
	must.NotNil(t, diags[0].Subject)
	must.StrNotEqFold(t, "", diags[0].Subject.Filename)
	must.Eq(t, line, diags[0].Subject.Start.Line)
	must.Less(t, 500, len(diags[0].Detail))
}

const deep = 20_000

// nested are expressions that need a level of a parser, or of an evaluation, for
// each repetition.
func nested(n int) map[string]string {
	r := strings.Repeat
	return map[string]string{
		"lists": r("[", n) + r("]", n), "objects": r("{a=", n) + "1" + r("}", n), "brackets": r("(", n) + "1" + r(")", n),
		"signs": r("-", n) + "1", "negations": r("!", n) + "true", "conditions": r("true ? 1 : ", n) + "1",
		"sums": r("1 + ", n) + "1", "calls": r("upper(", n) + `"a"` + r(")", n), "indices": `[1]` + r("[0]", n),
		"templates": r(`"${`, n) + "1" + r(`}"`, n), "splats": "[1]" + r(".*.a", n),
		"directives": `"` + r("%{ if true }", n) + r("%{ endif }", n) + `"`,
		"loops":      `"` + r("%{ for a in [] }", n) + r("%{ endfor }", n) + `"`,
		"open":       r("[", n), "commented": r("[ # ]\n", n),
	}
}

func TestHostileNestingInAJobFile(t *testing.T) {
	for name, expr := range nested(deep) {
		t.Run(name, func(t *testing.T) {
			_, diags := hcljob.Parse([]byte("job \"j\" {\n  x = "+strings.ReplaceAll(expr, "# ]", "")+"\n}\n"), "job.hcl", hcljob.Inputs{})
			at := 2
			if name == "commented" {
				at += bounds.Levels - 1 // the job is a level as well
			}
			refusedAt(t, diags, "Nested too deeply", at)
		})
	}
	t.Run("blocks", func(t *testing.T) {
		_, diags := hcljob.Parse([]byte("job \"j\" {\n"+strings.Repeat("a {\n", deep)+strings.Repeat("}\n", deep)+"}\n"), "job.hcl", hcljob.Inputs{})
		refusedAt(t, diags, "Nested too deeply", bounds.Levels+1)
	})
}

func TestHostileNestingElsewhere(t *testing.T) {
	expr := strings.Repeat("[", deep)
	_, diags := sidecar.Parse([]byte("sidecar \"x\" {\n version = "+expr+"\n}"), "x.sidecar.hcl")
	refusedAt(t, diags, "Nested too deeply", 2)
	refusedAt(t, (&policy.Policy{}).Add([]byte("rule \"x\" {\n required = "+expr+"\n}"), "x.policy.hcl"), "Nested too deeply", 2)
	_, diags = hcljob.Parse([]byte("variable \"v\" {\n type = list(any)\n}\njob \"j\" {}\n"), "job.hcl", hcljob.Inputs{Vars: []string{"v=" + expr}})
	refusedAt(t, diags, "Nested too deeply", 1)
	path := filepath.Join(t.TempDir(), "vars.hcl")
	must.NoError(t, os.WriteFile(path, []byte("v = "+expr), 0o600))
	_, diags = hcljob.Parse([]byte("variable \"v\" {}\njob \"j\" {}\n"), "job.hcl", hcljob.Inputs{VarFiles: []string{path}})
	refusedAt(t, diags, "Nested too deeply", 1)

	def, diags := sidecar.Parse([]byte("sidecar \"x\" {\n version = \"1.0.0\"\n parameter \"p\" {\n  type = list(any)\n }\n task \"x\" {}\n}"), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	at := hcl.Range{Filename: "job.hcl", Start: hcl.Pos{Line: 7}}
	_, diags = def.Bind(map[string]sidecar.Argument{"p": {Value: cty.StringVal(expr), Text: true, Range: at}}, at)
	refusedAt(t, diags, "Wrong type of parameter", 7)
	must.StrContains(t, diags[0].Detail, "too deeply")
}

func TestHostileNestingInJSON(t *testing.T) {
	c := loadCatalog(t)
	for name, value := range map[string]string{
		"lists": strings.Repeat("[", deep) + strings.Repeat("]", deep), "open": strings.Repeat("[", deep),
		"objects":                     strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep),
		"below the limit of Go's own": strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := jsonjob.Parse([]byte("{\"ID\":\"j\",\n\"X\":"+value+"}"), "job.json", c)
			refusedAt(t, diags, "Invalid JSON", 2)
			must.StrContains(t, diags[0].Detail, "levels deep")
		})
	}
}

// What is allowed can be read: levels do not add up where things stand side by side.
func TestNestingOfOrdinaryTextIsNotCounted(t *testing.T) {
	const many = 5_000
	var lines strings.Builder
	for i := range many {
		fmt.Fprintf(&lines, "  a%d = 1 + f(1)[0] # + 1\n  b%d = [1 + 1, {\n c = true ? \"${1}%%{ if true }x%%{ else }y%%{ endif }\" : 2\n }, -1]\n b {}\n", i, i)
	}
	flat := lines.String() + "list = [" + strings.Repeat("[1], -1, ", many) + "]\n" + `text = "` + strings.Repeat("${a}%{ if true }x%{ endif }", many) + "\"\n" +
		"doc = <<EOT\n" + strings.Repeat("${a[0]} {{ b }} %{ for a in b }[(%{ endfor }\n", many) + "EOT\n"
	must.Nil(t, bounds.HCL([]byte(flat), "job.hcl", bounds.HCLBytes))
	for name, expr := range nested(100) {
		must.Nil(t, bounds.HCL([]byte("x = "+expr+"\n"), "job.hcl", bounds.HCLBytes), must.Sprint(name))
	}
	must.Eq(t, -1, bounds.JSON([]byte(`["`+strings.Repeat(`[\"`, many)+`",`+strings.Repeat(`{"a":[]},`, many)+`1]`)))
}

func TestHostileSize(t *testing.T) {
	c := loadCatalog(t)
	blank := func(n int) string { return strings.Repeat("# 34567\n", n/8+1) }
	_, diags := hcljob.Parse([]byte("job \"j\" {}\n"+blank(bounds.HCLBytes)), "job.hcl", hcljob.Inputs{})
	refusedAt(t, diags, "File too large", bounds.HCLBytes/8)
	_, diags = hcljob.Eject([]byte("#sidecar\n"+blank(bounds.HCLBytes)), "job.hcl")
	refusedAt(t, diags, "File too large", bounds.HCLBytes/8)
	_, diags = jsonjob.Parse([]byte("{\n"+strings.Repeat(" ", bounds.JSONBytes)+"}"), "job.json", c)
	refusedAt(t, diags, "File too large", 2)
	_, diags = sidecar.Parse([]byte(blank(bounds.DefinitionBytes)), "x.sidecar.hcl")
	refusedAt(t, diags, "File too large", bounds.DefinitionBytes/8+1)
	refusedAt(t, (&policy.Policy{}).Add([]byte(blank(bounds.DefinitionBytes)), "x.policy.hcl"), "File too large", bounds.DefinitionBytes/8+1)
}

// Nothing is read to its end only to be refused.
func TestHostileSizeOfAFileIsNotRead(t *testing.T) {
	src, err := bounds.ReadFile("/dev/zero", 1000)
	must.NoError(t, err)
	must.Len(t, 1001, src)
	refusedAt(t, hcl.Diagnostics{bounds.Size(src, "/dev/zero", 1000)}, "File too large", 1)
}

func TestHostileCircles(t *testing.T) {
	chain := "locals {\n  l0 = local.l19999\n"
	for i := 1; i < deep; i++ {
		chain += fmt.Sprintf("  l%d = local.l%d\n", i, i-1)
	}
	for _, test := range []struct {
		name, src, summary string
		line               int
	}{
		{"itself", "locals {\n a = local.a\n}", "Circular local value", 2},
		{"by index", "locals {\n a = local[\"a\"]\n}", "Circular local value", 2},
		{"by others", "locals {\n a = \"${local.b}\"\n}\nlocals {\n b = [local.c]\n c = upper(local.a)\n}", "Circular local value", 2},
		{"beside good ones", "locals {\n a = 1\n b = local.a\n c = local.d\n d = local.c\n}", "Circular local value", 4},
		{"long", chain + "}", "Chain of local values too long", 501},
		{"variables", "variable \"a\" {\n default = var.b\n}\nvariable \"b\" {\n default = var.a\n}", "Variables not allowed", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, diags := hcljob.Parse([]byte(test.src+"\njob \"j\" {}\n"), "job.hcl", hcljob.Inputs{})
			must.True(t, diags.HasErrors())
			if test.name == "long" {
				must.Eq(t, test.summary, diags[0].Summary)
				must.NotNil(t, diags[0].Subject)
				return
			}
			refusedAt(t, diags[:1], test.summary, test.line)
		})
	}
	_, diags := sidecar.Parse([]byte("sidecar \"x\" {\n version = \"1.0.0\"\n locals {\n  a = local.b\n  b = local.a\n }\n task \"x\" {}\n}"), "x.sidecar.hcl")
	refusedAt(t, diags, "Circular local value", 4)
}

// Local values may stand in any order, and be used as a whole.
func TestLocalValuesInAnyOrder(t *testing.T) {
	f := parseHCL(t, []byte("locals {\n z = \"z\"\n a = local.m\n m = \"m${local.z}\"\n w = join(\"\", values(local))\n}\njob \"j\" {\n name = \"${local.a} ${local.w}\"\n}\n"))
	must.Eq(t, "mz mzmzz", f.Job().Name.Value)
}

func TestHostileFunctionsThatReadFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must.NoError(t, os.WriteFile(secret, []byte("hidden"), 0o600))
	for _, call := range []string{
		`file("%s")`, `filebase64("%s")`, `fileexists("%s") ? "x" : "y"`, `join("", fileset("/", "%s"))`,
		`abspath("%s")`, `pathexpand("~%s")`, `templatefile("%s", {})`,
	} {
		src := []byte(fmt.Sprintf("job \"j\" {\n group \"g\" {\n  sidecar \"viewer\" {\n   version = "+call+"\n  }\n  task \"app\" {\n   driver = \"pod\"\n   env { A = "+call+" }\n  }\n }\n}\n", secret, secret))
		_, diags := hcljob.Parse(src, "job.hcl", hcljob.Inputs{BaseDir: "/"})
		must.True(t, diags.HasErrors(), must.Sprint(call))
		must.Eq(t, "job.hcl", diags[0].Subject.Filename)
		must.Eq(t, 4, diags[0].Subject.Start.Line)
		if !strings.HasPrefix(call, "templatefile") { // which Nomad has not
			must.StrContains(t, diags[0].Detail, "-allow-fs")
		}

		// Where nothing depends on it the text stays, and Nomad is asked only as it says.
		src = []byte(strings.Replace(string(src), "version = "+fmt.Sprintf(call, secret), "", 1))
		f := parseHCL(t, src)
		must.True(t, f.Job().Groups[0].Tasks[0].Env["A"].Unknown != nil)
		must.StrNotContains(t, string(inject(t, f, loadCatalog(t), with("viewer"))), "hidden")
		_, diags = f.JSON()
		must.Eq(t, "Unknown value", diags[0].Summary)
		must.StrContains(t, diags[0].Detail, "(job.hcl:8)")
		must.StrNotContains(t, diags[0].Detail, "hidden")
	}
	f, diags := hcljob.Parse([]byte("job \"j\" {\n name = file(\""+secret+"\")\n}\n"), "job.hcl", hcljob.Inputs{BaseDir: "/", AllowFS: true})
	must.False(t, diags.HasErrors())
	must.Eq(t, "hidden", f.Job().Name.Value)
	// A definition has none of them at all.
	for _, name := range []string{"file", "filebase64", "fileexists", "fileset", "abspath", "pathexpand", "templatefile"} {
		_, diags := sidecar.Parse([]byte("sidecar \"x\" {\n version = \"1.0.0\"\n task \"x\" {\n  driver = "+name+"(\"/etc/hostname\")\n }\n}"), "x.sidecar.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(name))
		must.Eq(t, 4, diags[0].Subject.Start.Line)
	}
}

package templater_test

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// test/traps.md lists the traps by number.

//go:embed testdata/full.nomad.hcl
var fullJob string

func with(names ...string) templater.Flags {
	flags := templater.Flags{}
	for _, n := range names {
		flags.With = append(flags.With, &job.Request{Sidecar: n})
	}
	return flags
}

// injected is the group of fullJob after injection, in the JSON of Nomad.
func injected(t *testing.T, names ...string) map[string]any {
	c := loadCatalog(t)
	out := nomad(t, inject(t, parseHCL(t, []byte(fullJob)), c, with(names...)))
	return groupOf(out)
}

func groupOf(j any) map[string]any {
	return j.(map[string]any)["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
}

func find(t must.T, list any, name string) map[string]any {
	for _, e := range list.([]any) {
		if m := e.(map[string]any); m["Name"] == name {
			return m
		}
	}
	t.Fatalf("no element %q", name)
	return nil
}

// Trap I2.
func TestInject_KeepsGroupLists(t *testing.T) {
	before := groupOf(nomad(t, []byte(fullJob)))
	after := injected(t, "awkward", "ports", "viewer")
	for _, field := range []string{"Tasks", "Services", "Constraints"} {
		b, a := before[field].([]any), after[field].([]any)
		must.GreaterEq(t, len(b), len(a))
		if field != "Tasks" {
			must.Eq(t, b, a[:len(b)])
		}
	}
	must.Eq(t, before["Volumes"].(map[string]any)["data"], after["Volumes"].(map[string]any)["data"])
	b, a := find(t, before["Tasks"], "app"), find(t, after["Tasks"], "app")
	for _, field := range []string{"Templates", "VolumeMounts"} {
		must.Eq(t, b[field].([]any), a[field].([]any)[:1])
		must.Len(t, 2, a[field].([]any))
	}
	must.Eq(t, []any{"9.9.9.9", "1.1.1.1", "8.8.8.8"}, a["Config"].(map[string]any)["dns"].([]any))
	must.Eq(t, "b", a["Env"].(map[string]any)["A"].(string))
}

// Trap I4.
func TestInject_NullAbsentAndEmptyLists(t *testing.T) {
	c := loadCatalog(t)
	for _, empty := range []string{`"Env":null,"Config":null,`, `"Env":{},"Config":{},`, ``} {
		for _, ports := range []string{`,"DynamicPorts":null`, `,"DynamicPorts":[]`, ``} {
			src := `{"ID":"j","Meta":null,"Constraints":[],"TaskGroups":[{"Name":"g","Services":null,"Networks":[{"Mode":"bridge"` + ports +
				`}],"Tasks":[{` + empty + `"Name":"app","Driver":"pod"}]}]}`
			out := inject(t, parseJSON(t, []byte(src), c), c, with("awkward", "ports", "viewer"))
			var j struct {
				TaskGroups []struct {
					Networks []struct{ DynamicPorts []struct{ Label string } }
					Services []struct{ Name string }
					Tasks    []struct {
						Name   string
						Env    map[string]string
						Config map[string]any
					}
				}
			}
			must.NoError(t, json.Unmarshal(out, &j))
			g := j.TaskGroups[0]
			must.Len(t, 2, g.Networks[0].DynamicPorts)
			must.Len(t, 1, g.Services)
			must.Len(t, 5, g.Tasks)
			must.Eq(t, map[string]string{"ONE": "9001", "AWKWARD": "plain"}, g.Tasks[0].Env)
			must.Eq(t, []any{"ipc", "uts", "pid"}, g.Tasks[0].Config["share"].([]any))
			must.StrContains(t, string(out), `"Constraints":[]`)
			must.StrContains(t, string(out), `"Meta":null`)
		}
	}
}

// Trap I6.
func TestDefinition_UnknownField(t *testing.T) {
	for _, body := range []string{
		`color = "red"`, `parameter "p" { typ = number }`, `api { prot "x" {} }`, `requires { driver = "pod" }`,
		`app { task {} }`, "parameter \"p\" {\n validation {\n condition = true\n error_message = \"x\"\n severity = 1\n }\n }",
	} {
		_, diags := sidecar.Parse([]byte("sidecar \"x\" {\nversion = \"1.0.0\"\n"+body+"\ntask \"x\" {}\n}"), "x.sidecar.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(body))
		must.NotNil(t, diags[0].Subject)
		must.GreaterEq(t, 3, diags[0].Subject.Start.Line)
	}
}

// Trap I10.
func TestInject_DoesNotChangeDefinition(t *testing.T) {
	c := loadCatalog(t)
	flags := with("awkward", "ports", "viewer")
	want := inject(t, parseHCL(t, []byte(fullJob)), c, flags)
	other := strings.ReplaceAll(fullJob, `"g"`, `"other"`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%2 == 0 {
				must.Eq(t, string(want), string(inject(t, parseHCL(t, []byte(fullJob)), c, flags)))
			} else {
				must.StrContains(t, string(inject(t, parseHCL(t, []byte(other)), c, flags)), "awkward-other")
			}
		})
	}
	wg.Wait()
}

// Trap I11.
func TestInject_PartialOverride(t *testing.T) {
	def, diags := sidecar.Parse([]byte(`
sidecar "x" {
  version = "1.0.0"
  parameter "limits" {
    type    = object({ cpu = optional(number, 50), memory = optional(number, 32), tags = optional(list(string)) })
    default = {}
  }
  parameter "name" {
    type     = string
    default  = "fallback"
    nullable = false
  }
  task "x" {
    config {
      cpu    = param.limits.cpu
      memory = param.limits.memory
      tags   = param.limits.tags
      name   = param.name
    }
  }
}`), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	values, diags := def.Bind(map[string]sidecar.Argument{
		"limits": {Value: cty.StringVal(`{ memory = 64 }`), Text: true},
		"name":   {Value: cty.NullVal(cty.DynamicPseudoType)},
	}, def.Range)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	inst, diags := def.Evaluate(sidecar.Scope{}, values)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, "config {\n  cpu    = 50\n  memory = 64\n  name   = \"fallback\"\n}\n",
		inst.Tasks[0].Body.Blocks("config")[0].HCL(sidecar.Style{}))
}

// Trap I12.
func TestInject_MissingParts(t *testing.T) {
	c := loadCatalog(t)
	for _, src := range []string{
		`null`, `{}`, `[]`, `{"Job":null}`, `{"ID":null,"TaskGroups":null}`, `{"ID":"j","TaskGroups":[null]}`,
		`{"ID":"j","TaskGroups":[{}]}`, `{"ID":"j","TaskGroups":[{"Tasks":[null,{}],"Networks":[null],"Services":[null]}]}`,
		`{"ID":1,"TaskGroups":{"a":1}}`, `{"ID":"j","TaskGroups":[{"Name":null,"Tasks":[{"Name":null,"Env":[1],"Config":"x","Meta":3}]}]}`,
		`{"ID":"j","Meta":{"sidecar.inject":7},"TaskGroups":[{"Name":"g","Count":"x","Networks":[{"DynamicPorts":[{}]}]}]}`,
		`{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[{"Name":"viewer","Meta":{"sidecar.name":"viewer"}}]}]}`, ``, `"`, `{"a"`,
	} {
		f, diags := jsonjob.Parse([]byte(src), "job.json", c)
		if f == nil {
			must.True(t, diags.HasErrors())
			continue
		}
		choices, _ := templater.Choose(f.Job(), c, with("awkward", "ports", "viewer"))
		edits, _ := templater.Plan(f.Job(), choices)
		_, _ = f.Apply(edits)
	}
	for _, src := range []string{
		``, `job {}`, `job "j" {}`, `job "j" "k" {}`, `job "j" { group {} }`, "job \"j\" {\n group \"g\" {\n task {}\n }\n}",
		"job \"j\" {\n group \"g\" {\n network {\n port {}\n }\n task \"t\" {}\n }\n}", "job \"j\" {\n meta = null\n group \"g\" {\n count = null\n env = null\n }\n}",
		"job \"j\" {\n group \"g\" {\n sidecar {}\n sidecar \"viewer\" {\n x {}\n version = null\n }\n }\n}",
	} {
		f, diags := hcljob.Parse([]byte(src), "job.hcl", hcljob.Inputs{})
		if f == nil {
			must.True(t, diags.HasErrors())
			continue
		}
		choices, _ := templater.Choose(f.Job(), c, with("awkward", "ports", "viewer"))
		edits, _ := templater.Plan(f.Job(), choices)
		_, _ = f.Apply(edits)
	}
}

// Trap I16.
func TestInject_KeepsRuntimeReferences(t *testing.T) {
	g := injected(t, "awkward")
	task := find(t, g["Tasks"], "awkward")
	must.Eq(t, []any{
		"plain", "%i", "[[ .x ]]", "{{ y }}", "${LITERAL}", "%{if}", "$${three}", "\x00\x7f",
		"${attr.kernel.name}${meta.x}", "${node.unique.name}", `${env["HOME"]}`, "$", "%", "a\r\nb\r\n",
	}, task["Config"].(map[string]any)["args"].([]any))
	must.Eq(t, "${NOMAD_TASK_DIR}/run", task["Config"].(map[string]any)["command"].(string))
	must.Eq(t, "{{ range service \"x\" }}%i[[ z ]]${}%{}\n${NOMAD_PORT_http} plain\n",
		task["Templates"].([]any)[0].(map[string]any)["EmbeddedTmpl"].(string))
}

// Trap I16.
func TestInject_KeepsLineEndings(t *testing.T) {
	c := loadCatalog(t)
	crlf := strings.ReplaceAll(fullJob, "\n", "\r\n")
	out := string(inject(t, parseHCL(t, []byte(crlf)), c, with("awkward", "ports", "viewer")))
	must.Eq(t, strings.Count(out, "\n"), strings.Count(out, "\r\n"))
	equal(t, nomad(t, inject(t, parseHCL(t, []byte(fullJob)), c, with("awkward"))), nomad(t, inject(t, parseHCL(t, []byte(crlf)), c, with("awkward"))))
}

// Trap I17.
func TestInject_InputsOfJobWithoutSidecars(t *testing.T) {
	g := injected(t, "awkward", "ports", "viewer")
	env := find(t, g["Tasks"], "awkward")["Env"].(map[string]any)
	must.Eq(t, "app of g in j", env["TASK"].(string))
	// Nor do sidecars change one another.
	must.MapNotContainsKey(t, env, "ONE")
}

// Trap I23.
func TestInject_DashesAndUnderscores(t *testing.T) {
	c := loadCatalog(t)
	src := strings.ReplaceAll(fullJob, `port "http"`, `port "two_dashes"`)
	f := parseHCL(t, []byte(src))
	choices, diags := templater.Choose(f.Job(), c, with("ports"))
	must.False(t, diags.HasErrors())
	_, diags = templater.Plan(f.Job(), choices)
	must.Len(t, 1, diags.Errs())
	must.Eq(t, "Port label taken", diags[0].Summary)
}

// Trap I23.
func TestInject_GroupRestartNotInherited(t *testing.T) {
	g := injected(t, "viewer", "ports")
	must.Eq(t, float64(0), g["RestartPolicy"].(map[string]any)["Attempts"].(float64))
	must.Eq(t, "delay", find(t, g["Tasks"], "viewer")["RestartPolicy"].(map[string]any)["Mode"].(string))
	must.Eq(t, float64(3), find(t, g["Tasks"], "viewer")["RestartPolicy"].(map[string]any)["Attempts"].(float64))
	// What a definition says itself is left alone, and so are tasks that end.
	must.Eq(t, "fail", find(t, g["Tasks"], "ports")["RestartPolicy"].(map[string]any)["Mode"].(string))
	must.Nil(t, find(t, g["Tasks"], "ports-init")["RestartPolicy"])
}

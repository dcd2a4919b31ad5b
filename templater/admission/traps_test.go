package admission

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// The traps of package templater, from the view of a client of the proxy: each sends requests
// through it, with the templater's catalog of definitions that are hard to inject. Traps of the
// protocol are tested next to the code they concern.

const trapPolicy = `rule "all" {
  inject "awkward" {}
  inject "ports" {}
  inject "viewer" {}
}
`

// trapJob returns the job file of the templater's trap tests.
func trapJob(t must.T) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/full.nomad.hcl")
	must.NoError(t, err)
	return string(text)
}

func trapped(t *testing.T, policy string) *fixture {
	t.Helper()
	return startWith(t, rulesFrom(t, os.DirFS("../testdata/catalog"), policy))
}

// requestOf returns the request that "nomad job run" sends for a job file.
func requestOf(t must.T, source string) string {
	t.Helper()
	job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: []byte(source), Strict: true})
	must.NoError(t, err)
	raw, err := json.Marshal(api.JobRegisterRequest{Job: job})
	must.NoError(t, err)
	return string(raw)
}

// register registers a job and returns the body that Nomad receives.
func (f *fixture) register(body string) string {
	f.t.Helper()
	return f.arrives("/v1/jobs", body)
}

func (f *fixture) arrives(path, body string) string {
	f.t.Helper()
	resp, text := f.send(http.MethodPut, path, body)
	must.Eq(f.t, http.StatusOK, resp.StatusCode, must.Sprint(text))
	_, sent := f.last(f.t)
	return string(sent)
}

func (f *fixture) denied(body string) string {
	f.t.Helper()
	before := f.count()
	resp, text := f.send(http.MethodPut, "/v1/jobs", body)
	must.Eq(f.t, http.StatusForbidden, resp.StatusCode, must.Sprint(text))
	must.Eq(f.t, before, f.count())
	return text
}

func groupOf(t must.T, body string) *api.TaskGroup {
	t.Helper()
	var req api.JobRegisterRequest
	must.NoError(t, json.Unmarshal([]byte(body), &req), must.Sprint(body))
	must.Len(t, 1, req.Job.TaskGroups)
	return req.Job.TaskGroups[0]
}

func taskOf(t must.T, g *api.TaskGroup, name string) *api.Task {
	t.Helper()
	for _, task := range g.Tasks {
		if task.Name == name {
			return task
		}
	}
	t.Fatalf("no task %q", name)
	return nil
}

// Trap I2.
func TestProxy_KeepsGroupLists(t *testing.T) {
	body := requestOf(t, trapJob(t))
	before, after := groupOf(t, body), groupOf(t, trapped(t, trapPolicy).register(body))
	must.Eq(t, before.Constraints, after.Constraints)
	must.Eq(t, before.Volumes["data"], after.Volumes["data"])
	must.Eq(t, before.Services[0], after.Services[0])
	must.Greater(t, len(before.Services), len(after.Services))
	must.Eq(t, before.Networks[0].DynamicPorts, after.Networks[0].DynamicPorts[:1])
	must.Len(t, 3, after.Networks[0].DynamicPorts)
	was, is := before.Tasks[0], after.Tasks[0]
	must.Eq(t, was.Templates, is.Templates[:1])
	must.Eq(t, was.VolumeMounts, is.VolumeMounts[:1])
	must.Eq(t, []any{"9.9.9.9", "1.1.1.1", "8.8.8.8"}, is.Config["dns"].([]any))
	must.Eq(t, was.Config["args"], is.Config["args"])
	must.Eq(t, "b", is.Env["A"])
}

// Trap I3.
func TestProxy_InjectTwice(t *testing.T) {
	f := trapped(t, trapPolicy)
	once := f.register(requestOf(t, trapJob(t)))
	must.Eq(t, once, f.register(once))
	// as a page or a script does: GET, then PUT
	f.answer = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "%s", stored(t, []byte(once))) // a missing response fails the test
	}
	_, got := f.send(http.MethodGet, "/v1/job/j", "")
	f.answer = nil
	must.Eq(t, canonical(t, []byte(once)), canonical(t, []byte(f.register(got))))
}

// Trap I4.
func TestProxy_NullAbsentAndEmptyLists(t *testing.T) {
	f := trapped(t, trapPolicy)
	for _, empty := range []string{`"Env":null,"Config":null,`, `"Env":{},"Config":{},`, ``} {
		for _, ports := range []string{`,"DynamicPorts":null`, `,"DynamicPorts":[]`, ``} {
			for _, lists := range []string{`"Services":null,"Volumes":null,`, `"Services":[],"Volumes":{},`, ``} {
				g := groupOf(t, f.register(`{"Job":{"ID":"j","Meta":null,"TaskGroups":[{"Name":"g",`+lists+`"Networks":[{"Mode":"bridge"`+ports+
					`}],"Tasks":[{`+empty+`"Name":"app","Driver":"pod"}]}]}}`))
				must.Len(t, 2, g.Networks[0].DynamicPorts)
				must.Len(t, 1, g.Services)
				must.MapLen(t, 1, g.Volumes)
				must.Len(t, 5, g.Tasks)
				must.Eq(t, map[string]string{"ONE": "9001", "AWKWARD": "plain"}, g.Tasks[0].Env)
			}
		}
	}
}

// Concurrent jobs do not affect each other's values.
// Trap I10.
func TestProxy_DoesNotChangeDefinition(t *testing.T) {
	f := trapped(t, trapPolicy)
	rules := f.proxy.rules.Load()
	want := f.register(requestOf(t, trapJob(t)))
	other := strings.ReplaceAll(trapJob(t), `"g"`, `"other"`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			source, expected := trapJob(t), "app of g in j"
			if i%2 == 1 {
				source, expected = other, "app of other in j"
			}
			v := rules.treat(t.Context(), []byte(requestOf(t, source)), anywhere)
			must.Nil(t, v.denial)
			must.StrContains(t, string(v.body), expected)
		})
	}
	wg.Wait()
	must.Eq(t, want, f.register(requestOf(t, trapJob(t))))
}

// Trap I11.
func TestProxy_PartialOverrideInRule(t *testing.T) {
	definition := `sidecar "limited" {
  version = "1.0.0"
  parameter "limits" {
    type    = object({ cpu = optional(number, 50), memory = optional(number, 32) })
    default = {}
  }
  task "limited" {
    driver = "raw_exec"
    resources {
      cpu    = param.limits.cpu
      memory = param.limits.memory
    }
  }
}
`
	catalog := fstest.MapFS{"limited.sidecar.hcl": {Data: []byte(definition)}}
	f := startWith(t, rulesFrom(t, catalog, `rule "all" {
  inject "limited" {
    limits = { memory = 64 }
  }
}
`))
	resources := taskOf(t, groupOf(t, f.register(jobNamed("web"))), "limited").Resources
	must.Eq(t, 50, *resources.CPU)
	must.Eq(t, 64, *resources.MemoryMB)
}

// If parts of a request are missing, the response is Nomad's or a denial. The fuzz tests cover more
// cases.
// Trap I12.
func TestProxy_MissingParts(t *testing.T) {
	f := trapped(t, trapPolicy)
	for _, job := range []string{
		`null`, `{}`, `[]`, `7`, `"x"`, `{"ID":null,"TaskGroups":null}`, `{"ID":"j","TaskGroups":[null]}`, `{"ID":"j","TaskGroups":[{}]}`,
		`{"ID":"j","TaskGroups":[{"Tasks":[null,{}],"Networks":[null],"Services":[null]}]}`, `{"ID":1,"TaskGroups":{"a":1}}`,
		`{"ID":"j","TaskGroups":[{"Name":null,"Tasks":[{"Name":null,"Env":[1],"Config":"x","Meta":3}]}]}`,
		`{"ID":"j","Meta":{"sidecar.inject":7},"TaskGroups":[{"Name":"g","Count":"x","Networks":[{"DynamicPorts":[{}]}]}]}`,
		`{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[{"Name":"viewer","Meta":{"sidecar.name":"viewer"}}]}]}`,
	} {
		for _, path := range []string{"/v1/jobs", "/v1/job/j", "/v1/job/j/plan", "/v1/validate/job"} {
			for _, body := range []string{`{"Job":` + job + `}`, job, `{"Job":` + job, ""} {
				resp, text := f.send(http.MethodPut, path, body) // a panic breaks the connection
				must.Less(t, http.StatusInternalServerError, resp.StatusCode, must.Sprintf("%s %s: %s", path, body, text))
			}
		}
	}
}

// The job that Nomad plans and validates is the one it receives on registration, so the plan's
// in-place or destructive result holds: for a job as written, for an injected job, and after each
// kind of edit.
// Trap I13.
func TestProxy_PlanOfRegisteredJob(t *testing.T) {
	f := trapped(t, trapPolicy)
	source := requestOf(t, trapJob(t))
	injected := f.register(source)
	for name, body := range map[string]string{
		"as written":        source,
		"injected":          injected,
		"in place":          strings.Replace(injected, `"Name":"app","Tags":null`, `"Name":"app","Tags":["new"]`, 1),
		"destructive":       strings.Replace(injected, `"A":"b"`, `"A":"c"`, 1),
		"of a sidecar":      strings.Replace(injected, `"command":"ports"`, `"command":"else"`, 1),
		"without a sidecar": requestOf(t, strings.Replace(trapJob(t), "{\n", "{\n  meta = { \"sidecar.exclude\" = \"viewer\" }\n", 1)),
	} {
		must.True(t, body != injected || name == "injected", must.Sprint(name))
		registered := f.register(body)
		must.Eq(t, registered, f.arrives("/v1/job/j", body), must.Sprint(name))
		must.Eq(t, registered, f.arrives("/v1/job/j/plan", body), must.Sprint(name))
		must.Eq(t, registered, f.arrives("/v1/validate/job", body), must.Sprint(name))
	}
}

// Trap I14.
func TestProxy_ByteIdentical(t *testing.T) {
	source := requestOf(t, trapJob(t))
	want := trapped(t, trapPolicy).register(source)
	for range 5 {
		f := trapped(t, trapPolicy) // another process reads the same files
		for range 10 {
			must.Eq(t, want, f.register(source))
		}
	}
}

// Trap I16.
func TestProxy_KeepsRuntimeReferences(t *testing.T) {
	g := groupOf(t, trapped(t, trapPolicy).register(requestOf(t, trapJob(t))))
	must.Eq(t, []any{"%i", "[[ .x ]]", "{{ y }}", "${LITERAL}", "%{if}", "a\r\nb", "${NOMAD_PORT_http}"}, taskOf(t, g, "app").Config["args"].([]any))
	must.Eq(t, "{{ range service \"x\" }}[[ z ]]${}%{}\n", *taskOf(t, g, "app").Templates[0].EmbeddedTmpl)
	ours := taskOf(t, g, "awkward")
	must.Eq(t, []any{
		"plain", "%i", "[[ .x ]]", "{{ y }}", "${LITERAL}", "%{if}", "$${three}", "\x00\x7f",
		"${attr.kernel.name}${meta.x}", "${node.unique.name}", `${env["HOME"]}`, "$", "%", "a\r\nb\r\n",
	}, ours.Config["args"].([]any))
	must.Eq(t, "{{ range service \"x\" }}%i[[ z ]]${}%{}\n${NOMAD_PORT_http} plain\n", *ours.Templates[0].EmbeddedTmpl)
}

// The second request contains the sidecars that the first one injected.
// Trap I17.
func TestProxy_InputsOfJobWithoutSidecars(t *testing.T) {
	f := trapped(t, trapPolicy)
	once := f.register(requestOf(t, trapJob(t)))
	for _, body := range []string{once, f.register(once), f.register(stored(t, []byte(once)))} {
		env := taskOf(t, groupOf(t, body), "awkward").Env
		must.Eq(t, "app of g in j", env["TASK"])
		must.MapNotContainsKey(t, env, "ONE")
	}
}

// Trap I18.
func TestProxy_TaskNameTaken(t *testing.T) {
	f := trapped(t, trapPolicy)
	for _, name := range []string{"viewer", "ports-init", "ports_init"} {
		text := f.denied(requestOf(t, strings.Replace(trapJob(t), `task "app"`, `task "`+name+`"`, 1)))
		must.StrContains(t, text, `task "`+name+`"`)
		must.StrContains(t, text, `(catalog/`)
		must.StrContains(t, text, `"all" (p.hcl:`)
	}
}

// A job injected by the proxy can be ejected byte for byte, and Nomad's form of it becomes the same
// job.
// Trap I22.
func TestProxy_InjectedJobCanBeEjected(t *testing.T) {
	f := trapped(t, trapPolicy)
	source := requestOf(t, trapJob(t))
	catalog := f.proxy.rules.Load().Catalog
	eject := func(body string) string {
		file, diags := jsonjob.Parse([]byte(body), "job.json", catalog)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		out, diags := file.Apply(nil)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		return string(out)
	}
	injected := f.register(source)
	must.NotEq(t, source, injected)
	must.Eq(t, source, eject(injected))
	must.Eq(t, canonical(t, []byte(source)), canonical(t, []byte(eject(stored(t, []byte(injected))))))
}

// Trap I23.
func TestProxy_DashesAndGroupRestart(t *testing.T) {
	f := trapped(t, trapPolicy)
	must.StrContains(t, f.denied(requestOf(t, strings.ReplaceAll(trapJob(t), `"http"`, `"two_dashes"`))), "Port label taken")
	g := groupOf(t, f.register(requestOf(t, trapJob(t))))
	must.Eq(t, 0, *g.RestartPolicy.Attempts)
	ours := taskOf(t, g, "viewer").RestartPolicy
	must.Eq(t, 3, *ours.Attempts)
	must.Eq(t, "delay", *ours.Mode)
	must.Eq(t, "fail", *taskOf(t, g, "ports").RestartPolicy.Mode) // set by its definition
	must.Nil(t, taskOf(t, g, "ports-init").RestartPolicy)
}

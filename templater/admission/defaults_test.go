package admission

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const defaultsPolicy = `rule "base" {
  default {
    kill_timeout = "33s"
    update {
      max_parallel = 2
    }
  }
}
`

// Register, plan and validate set the same defaults, which the log names. Nomad's answer to a plan of
// the stored job is about the same job.
func TestDefaults_Set(t *testing.T) {
	f := start(t, defaultsPolicy)
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	var first []byte
	for _, path := range []string{"/v1/jobs", "/v1/job/web/plan", "/v1/validate/job"} {
		resp, text := f.send(http.MethodPut, path, jobNamed("web"))
		must.Eq(t, http.StatusOK, resp.StatusCode)
		must.StrNotContains(t, text, "nomad-sidecar")
		_, sent := f.last(t)
		must.StrContains(t, string(sent), `"KillTimeout":33000000000`)
		if first == nil {
			first = sent
		}
		must.Eq(t, string(first), string(sent))
	}
	must.Eq(t, []string{"g update", "g/app kill_timeout"}, told[0].Defaults)
	must.Eq(t, []string{"base"}, told[0].Rules)
	must.Eq(t, "injected", told[0].Decision)
	must.StrContains(t, f.audit.String(), `"defaults":["g update","g/app kill_timeout"]`)

	_, text := f.send(http.MethodPut, "/v1/jobs", stored(t, first))
	must.StrNotContains(t, text, "nomad-sidecar")
	_, sent := f.last(t)
	must.Eq(t, stored(t, first), string(sent))
}

// The log and errors name variables, and omit their values.
func TestDefaults_EnvValues(t *testing.T) {
	f := start(t, "rule \"base\" {\n default {\n env {\n TOKEN = \"hush-hush\"\n}\n vault {\n role = \"hush-role\"\n}\n}\n}\n")
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	_, text := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.StrNotContains(t, text, "hush")
	_, sent := f.last(t)
	must.StrContains(t, string(sent), `"TOKEN":"hush-hush"`)
	must.Eq(t, []string{"g/app env TOKEN", "g/app vault"}, told[0].Defaults)
	must.StrContains(t, f.audit.String(), `"g/app env TOKEN"`)
	must.StrNotContains(t, f.audit.String(), "hush")
}

// In a job that Nomad or its UI has completed, nothing is taken for left out.
func TestDefaults_CanonicalJob(t *testing.T) {
	f := start(t, defaultsPolicy)
	_, text := f.send(http.MethodPut, "/v1/jobs", stored(t, []byte(jobNamed("web"))))
	must.StrContains(t, text, `* nomad-sidecar: Defaults not set: The policy (base) has defaults for update, kill_timeout, but`)
	_, sent := f.last(t)
	must.Eq(t, stored(t, []byte(jobNamed("web"))), string(sent))
}

// A dry run names the defaults.
func TestDefaults_DryRun(t *testing.T) {
	rules := rulesOf(t, defaultsPolicy)
	rules.DryRun = true
	f := startWith(t, rules)
	_, text := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.StrContains(t, text, `* nomad-sidecar: Dry run of the policy: defaults would be set: g update, g/app kill_timeout.`)
	_, sent := f.last(t)
	must.Eq(t, jobNamed("web"), string(sent))

	var tasks []string
	for i := range 30 {
		tasks = append(tasks, fmt.Sprintf(`{"Name":"t%d","Driver":"raw_exec"}`, i))
	}
	_, text = f.send(http.MethodPut, "/v1/jobs", `{"Job":{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[`+strings.Join(tasks, ",")+`]}]}}`)
	must.StrContains(t, text, `g/t18 kill_timeout and 11 more.`)
}

// Parsing a job discloses nothing of the policy.
func TestDefaults_Parse(t *testing.T) {
	f := start(t, defaultsPolicy)
	f.answer = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"raw_exec"}]}]}`))
	}
	body, err := json.Marshal(map[string]any{"JobHCL": "job \"web\" {\nsidecar \"note\" {}\ngroup \"g\" {\ntask \"app\" {\ndriver = \"raw_exec\"\n}\n}\n}\n"})
	must.NoError(t, err)
	resp, text := f.send(http.MethodPut, "/v1/jobs/parse", string(body))
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.StrContains(t, text, `"note"`)
	must.StrNotContains(t, text, "KillTimeout\":33")
	must.StrNotContains(t, text, "sidecar.defaults")
}

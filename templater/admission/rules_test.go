package admission

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

func anywhere(*jsonjob.Request) location { return location{"default", "global"} }

// stored returns the job of a request as Nomad returns it.
func stored(t *testing.T, body []byte) string {
	t.Helper()
	var req api.JobRegisterRequest
	must.NoError(t, json.Unmarshal(body, &req))
	req.Job.Canonicalize()
	raw, err := json.Marshal(map[string]any{"Job": req.Job})
	must.NoError(t, err)
	return string(raw)
}

func canonical(t *testing.T, body []byte) string { return stored(t, []byte(stored(t, body))) }

// Trap I15: jobs sent by the command, by a page, and by job start from Nomad's state all converge,
// without a Submission.
func TestRules_EveryFormOfJob(t *testing.T) {
	rules := rulesOf(t, notePolicy)
	once := rules.treat(t.Context(), []byte(jobNamed("web")), anywhere)
	must.Nil(t, once.denial)
	must.True(t, once.changed)
	twice := rules.treat(t.Context(), once.body, anywhere)
	must.Eq(t, string(once.body), string(twice.body))
	must.False(t, twice.changed)
	fromNomad := rules.treat(t.Context(), []byte(stored(t, once.body)), anywhere)
	must.Nil(t, fromNomad.denial)
	must.Eq(t, canonical(t, once.body), canonical(t, fromNomad.body))
	plainCanonical := rules.treat(t.Context(), []byte(stored(t, []byte(jobNamed("web")))), anywhere)
	must.Eq(t, canonical(t, once.body), canonical(t, plainCanonical.body))
}

// Trap I19: a forged task is replaced by the real one; impossible marks are denied.
func TestRules_ForgedMarks(t *testing.T) {
	rules := rulesOf(t, notePolicy)
	digest := rules.Catalog.Versions("note")[0].Digest
	forged := func(digest, origin string) string {
		return strings.Replace(jobNamed("web"), `"Tasks":[`, fmt.Sprintf(`"Tasks":[{"Name":"note","Driver":"raw_exec","Config":{"command":"evil"},"Meta":{"sidecar.name":"note","sidecar.version":"1.0.0","sidecar.digest":%q,"sidecar.origin":%q}},`, digest, origin), 1)
	}
	for _, origin := range []string{"flag", "block", "meta", "policy"} {
		v := rules.treat(t.Context(), []byte(forged(digest, origin)), anywhere)
		must.Nil(t, v.denial)
		must.StrNotContains(t, string(v.body), "evil")
		must.StrContains(t, string(v.body), "top secret")
	}
	v := rules.treat(t.Context(), []byte(forged("sha256:none", "policy")), anywhere)
	must.NotNil(t, v.denial)
	must.StrContains(t, v.denial.text, `has the marks of sidecar "note"`)
}

// A mark cannot make the proxy remove the app's own parts.
// Trap I19.
func TestRules_MarkOnAppTask(t *testing.T) {
	rules := rulesOf(t, notePolicy)
	mark := fmt.Sprintf(`"Tasks":[{"Name":"note","Driver":"raw_exec","Meta":{"sidecar.name":"note","sidecar.version":"1.0.0","sidecar.digest":%q,"sidecar.origin":"policy","sidecar.added":"{\"config\":{\"app\":{\"logs\":null}}}"}},`, rules.Catalog.Versions("note")[0].Digest)
	body := strings.Replace(strings.Replace(jobNamed("web"), `"Tasks":[`, mark, 1), `"command":"app"`, `"command":"app","logs":[{"max_files":2}]`, 1)
	v := rules.treat(t.Context(), []byte(body), anywhere)
	must.NotNil(t, v.denial)
	must.StrContains(t, v.denial.text, `config logs of task "app" is not what this sidecar wrote`)
	must.Eq(t, []string{"Edited or forged injection"}, v.denial.summaries)
}

// A task that only claims to be a sidecar is still subject to rules.
// Trap I21.
func TestRules_LookalikeTask(t *testing.T) {
	rules := rulesOf(t, `rule "no-docker" {
  validation {
    condition     = !contains(group.drivers, "docker")
    error_message = "Use another driver."
  }
}
`)
	digest := rules.Catalog.Versions("note")[0].Digest
	for _, origin := range []string{"flag", "block", "meta", "policy", "else", ""} {
		body := strings.Replace(jobNamed("web"), `"Tasks":[`, fmt.Sprintf(`"Tasks":[{"Name":"note","Driver":"docker","Meta":{"sidecar.name":"note","sidecar.version":"1.0.0","sidecar.digest":%q,"sidecar.origin":%q}},`, digest, origin), 1)
		v := rules.treat(t.Context(), []byte(body), anywhere)
		if v.denial == nil { // otherwise the task was removed
			must.Eq(t, "policy", origin)
			must.Eq(t, []string{"app"}, tasksOf(t, v.body))
			continue
		}
		must.StrContains(t, v.denial.text, "Use another driver.")
	}
}

const skipOther = `rule "maybe" {
  inject "other" {}
  on_error = "skip"
}
rule "notes" {
  inject "note" {}
}
`

// Trap I20: a job continues without a sidecar only if the rule allows it, and with a warning.
func TestRules_FailOpen(t *testing.T) {
	v := rulesOf(t, skipOther).treat(t.Context(), []byte(jobNamed("web")), anywhere)
	must.Nil(t, v.denial)
	must.Eq(t, []string{"app", "note"}, tasksOf(t, v.body))
	must.Len(t, 1, v.warnings)
	must.StrContains(t, v.warnings[0], `Rule "maybe" of the policy cannot be applied and is skipped`)
	must.Eq(t, []string{"notes"}, v.rules)

	v = rulesOf(t, strings.Replace(skipOther, "skip", "deny", 1)).treat(t.Context(), []byte(jobNamed("web")), anywhere)
	must.NotNil(t, v.denial)
	must.Eq(t, http.StatusForbidden, v.denial.status)
	must.StrContains(t, v.denial.text, `Sidecar "other" needs network mode`)
	must.StrContains(t, v.denial.text, `"maybe" (p.hcl:2)`)
}

// Sidecars that an author injected by flags or blocks are not in the request; the policy neither
// removes nor changes them, unless they are required.
func TestRules_KeepsInjectedSidecars(t *testing.T) {
	rules := rulesOf(t, `rule "others" {
  inject "other" {}
}
`)
	bridged := strings.Replace(jobNamed("web"), `"Tasks"`, `"Networks":[{"Mode":"bridge"}],"Tasks"`, 1)
	file, diags := jsonjob.Parse([]byte(bridged), "", rules.Catalog)
	must.False(t, diags.HasErrors())
	flags := templater.Flags{With: []*job.Request{{Sidecar: "note"}}}
	choices, diags := templater.Choose(file.Job(), rules.Catalog, flags)
	must.False(t, diags.HasErrors())
	edits, diags := templater.Plan(file.Job(), choices)
	must.False(t, diags.HasErrors())
	flagged, diags := file.Apply(edits)
	must.False(t, diags.HasErrors())

	v := rules.treat(t.Context(), flagged, anywhere)
	must.Nil(t, v.denial)
	must.Eq(t, []string{"app", "note", "other"}, tasksOf(t, v.body))
	again := rules.treat(t.Context(), v.body, anywhere)
	must.Nil(t, again.denial)
	must.Eq(t, string(v.body), string(again.body))

	mild := rulesOf(t, strings.Replace(notePolicy, "required = true", "", 1)).treat(t.Context(), flagged, anywhere)
	must.False(t, mild.changed)
	strict := rulesOf(t, notePolicy).treat(t.Context(), flagged, anywhere)
	must.True(t, strict.changed)
	must.StrContains(t, string(strict.body), "top secret")
}

// A condition on sidecars applies to those that the job or the policy chooses, not to those that
// tasks of the job claim to be.
func TestRules_ConditionOnSidecars(t *testing.T) {
	const policy = `rule "noted" {
  validation {
    condition     = contains(group.sidecars, "note")
    error_message = "Add a note."
  }
}
`
	rules := rulesOf(t, policy)
	withMeta := func(meta string) []byte {
		return []byte(strings.Replace(jobNamed("web"), `"TaskGroups"`, `"Meta":{`+meta+`},"TaskGroups"`, 1))
	}
	v := rules.treat(t.Context(), []byte(jobNamed("web")), anywhere)
	must.NotNil(t, v.denial)
	must.StrContains(t, v.denial.text, `Rule "noted": Add a note. (p.hcl:2)`)
	chosen := rules.treat(t.Context(), withMeta(`"sidecar.inject":"note"`), anywhere)
	must.Nil(t, chosen.denial)
	again := rules.treat(t.Context(), chosen.body, anywhere)
	must.Nil(t, again.denial)
	must.False(t, again.changed)
	must.NotNil(t, rules.treat(t.Context(), withMeta(`"sidecar.inject":"note","sidecar.exclude":"note"`), anywhere).denial)
	must.Nil(t, rulesOf(t, policy+notePolicy).treat(t.Context(), []byte(jobNamed("web")), anywhere).denial)

	mark := fmt.Sprintf(`"Tasks":[{"Name":"note","Driver":"raw_exec","Meta":{"sidecar.name":"note","sidecar.version":"1.0.0","sidecar.digest":%q,"sidecar.origin":"flag"}},`, rules.Catalog.Versions("note")[0].Digest)
	forged := rules.treat(t.Context(), []byte(strings.Replace(jobNamed("web"), `"Tasks":[`, mark, 1)), anywhere)
	must.NotNil(t, forged.denial)
	must.StrContains(t, forged.denial.text, `Group "g" contains tasks marked as note, which do not count`)
}

func TestRevert_VersionLacksSidecar(t *testing.T) {
	f := start(t, notePolicy)
	with := f.proxy.rules.Load().treat(t.Context(), []byte(jobNamed("team/api")), anywhere)
	versions := fmt.Sprintf(`{"Versions":[%s,%s]}`, numbered(t, []byte(jobNamed("team/api")), 0), numbered(t, with.body, 1))
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Nomad-Token") != "t":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.EscapedPath() == "/v1/job/team%2Fapi/versions" && r.URL.Query().Get("namespace") == "prod":
			_, _ = io.WriteString(w, versions) // a missing response fails the test
		default:
			_, _ = io.WriteString(w, `{"EvalID":"reverted"}`)
		}
	}
	revert := func(version int, token string) (*http.Response, string) {
		return f.send(http.MethodPut, "/v1/job/team%2Fapi/revert?namespace=prod", fmt.Sprintf(`{"JobID":"team/api","JobVersion":%d}`, version), "X-Nomad-Token", token)
	}
	resp, text := revert(1, "t")
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.StrContains(t, text, "reverted")
	resp, text = revert(0, "t")
	must.Eq(t, http.StatusForbidden, resp.StatusCode)
	must.StrContains(t, text, `Version 0 of job "team/api" lacks sidecar "note" in group "g", which rule "notes"`)
	resp, text = revert(1, "other")
	must.Eq(t, http.StatusForbidden, resp.StatusCode)
	must.StrContains(t, text, "Version cannot be checked")
	resp, _ = revert(7, "t")
	must.Eq(t, http.StatusOK, resp.StatusCode)
}

// numbered returns the job of a request as one of its versions.
func numbered(t *testing.T, body []byte, version int) string {
	t.Helper()
	var outer struct{ Job map[string]any }
	must.NoError(t, json.Unmarshal(body, &outer))
	outer.Job["Version"] = version
	raw, err := json.Marshal(outer.Job)
	must.NoError(t, err)
	return string(raw)
}

package admission

import (
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/shoenig/test/must"
)

const warnPolicy = `rule "team" {
  validation {
    level         = "warn"
    condition     = can(job.meta.team)
    error_message = "Job ${job.id} has no team."
  }
}
`

const denyPolicy = `rule "owner" {
  match {
    job = ["web*"]
  }
  validation {
    condition     = can(job.meta.owner)
    error_message = "Job ${job.id} has no owner."
  }
}
`

// A validation that warns admits the job. The warning is in the answer, the log, the page's decision
// and a metric.
func TestWarn_JobIsAdmitted(t *testing.T) {
	f := start(t, warnPolicy)
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	for to, path := range map[route]string{register: "/v1/jobs", plan: "/v1/job/web/plan", validate: "/v1/validate/job"} {
		told = nil
		resp, text := f.send(http.MethodPut, path, jobNamed("web"))
		must.Eq(t, http.StatusOK, resp.StatusCode)
		must.StrContains(t, text, `* theirs\n* nomad-sidecar: Warning of the policy: Rule \"team\": Job web has no team. (p.hcl:2)`)
		_, sent := f.last(t)
		must.Eq(t, jobNamed("web"), string(sent))
		must.Len(t, 1, told)
		must.Eq(t, "passed", told[0].Decision)
		must.Eq(t, []string{"team"}, told[0].Warned)
		must.SliceEmpty(t, told[0].Rules)
		must.Eq(t, 1, testutil.ToFloat64(f.proxy.Metrics.warnings.WithLabelValues(string(to), "team")))
	}
	must.StrContains(t, f.audit.String(), `"warned":["team"]`)
	_, text := f.send(http.MethodPut, "/v1/jobs", strings.Replace(jobNamed("web"), `"TaskGroups"`, `"Meta":{"team":"x"},"TaskGroups"`, 1))
	must.StrNotContains(t, text, "Warning of the policy")
}

// A denial contains the warnings, so that the author can correct everything at once.
func TestWarn_DenialWithWarnings(t *testing.T) {
	f := start(t, warnPolicy+denyPolicy)
	resp, text := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.Eq(t, http.StatusForbidden, resp.StatusCode)
	must.StrContains(t, text, "Job web has no owner.")
	must.StrContains(t, text, "Warnings:\n* nomad-sidecar: Warning of the policy: Rule \"team\": Job web has no team.")
	must.Zero(t, f.count())
}

// In a dry run the policy changes and denies nothing, and says what it would do.
func TestDryRun(t *testing.T) {
	rules := rulesOf(t, notePolicy+denyPolicy+warnPolicy)
	rules.DryRun = true
	f := startWith(t, rules)
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	resp, text := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.Eq(t, http.StatusOK, resp.StatusCode)
	_, sent := f.last(t)
	must.Eq(t, jobNamed("web"), string(sent))
	must.StrContains(t, text, `Dry run of the policy: the job would be denied: Not allowed by policy: Rule \"owner\": Job web has no owner.`)
	must.StrContains(t, text, `Dry run of the policy: Warning of the policy: Rule \"team\"`)
	must.StrNotContains(t, text, "top secret")
	must.Eq(t, "passed", told[0].Decision)
	must.SliceContains(t, told[0].Warned, "owner")

	owned := strings.Replace(jobNamed("web"), `"TaskGroups"`, `"Meta":{"owner":"x","team":"y","sidecar.inject":"note"},"TaskGroups"`, 1)
	_, text = f.send(http.MethodPut, "/v1/jobs", owned)
	must.StrNotContains(t, text, "would be injected") // the job chooses it itself
	_, sent = f.last(t)
	must.Eq(t, []string{"app", "note"}, tasksOf(t, sent))
	must.StrNotContains(t, string(sent), "top secret")

	owned = strings.Replace(jobNamed("web"), `"TaskGroups"`, `"Meta":{"owner":"x","team":"y"},"TaskGroups"`, 1)
	_, text = f.send(http.MethodPut, "/v1/validate/job", owned)
	must.StrContains(t, text, `Dry run of the policy: sidecar \"note\" 1.0.0 would be injected into group \"g\".`)
}

// A revert that the policy would deny passes with a warning.
func TestDryRun_Revert(t *testing.T) {
	rules := rulesOf(t, everyJob)
	rules.DryRun = true
	f := startWith(t, rules)
	reverted := f.reverts(t, "web")
	resp, text := f.send(http.MethodPut, "/v1/job/web/revert", `{"JobID":"web","JobVersion":0}`)
	must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(text))
	must.Eq(t, []string{"web"}, *reverted)
	must.StrContains(t, text, `Dry run of the policy: the job would be denied: Version without a sidecar`)
}

// A deprecated sidecar and parameter are in Nomad's warnings.
func TestWarn_Deprecated(t *testing.T) {
	old := strings.NewReplacer(`summary =`, `deprecated = "Use other."
  summary =`, `default   =`, `deprecated = "Write it down."
    default   =`).Replace(noteDefinition)
	f := startWith(t, rulesFrom(t, fstest.MapFS{"note.sidecar.hcl": {Data: []byte(old)}}, warnPolicy))
	job := strings.Replace(jobNamed("web"), `"TaskGroups"`,
		`"Meta":{"team":"y","sidecar.inject":"note","sidecar.note.text":"hush hush"},"TaskGroups"`, 1)
	job = strings.Replace(job, `"TaskGroups":[`, `"TaskGroups":[{"Name":"h","Tasks":[{"Name":"app","Driver":"raw_exec"}]},`, 1)
	for _, path := range []string{"/v1/jobs", "/v1/job/web/plan", "/v1/validate/job"} {
		resp, text := f.send(http.MethodPut, path, job)
		must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(text))
		must.Eq(t, 2, strings.Count(text, "is deprecated"), must.Sprint(text))
		must.StrContains(t, text, `nomad-sidecar: Deprecated sidecar: In groups \"h\", \"g\": Sidecar \"note\" 1.0.0 is deprecated: Use other.`)
		must.StrContains(t, text, `is deprecated: Write it down.`)
		must.StrNotContains(t, text, "hush")
	}
}

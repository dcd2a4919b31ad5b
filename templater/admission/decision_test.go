package admission

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// Decided receives the same data as the audit log, and no secrets.
func TestDecided_JobRequests(t *testing.T) {
	f := start(t, notePolicy+noBatch)
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	job := strings.Replace(jobNamed("web"), "{", `{"SecretID":"s3cret",`, 1)
	f.send(http.MethodPut, "/v1/jobs", job, "X-Nomad-Token", "h3ader")
	f.send(http.MethodPost, "/v1/job/web/plan?namespace=prod", strings.Replace(jobNamed("web"), `"ID"`, `"Type":"batch","ID"`, 1))
	f.send(http.MethodPut, "/v1/jobs", `{`)
	f.send(http.MethodGet, "/v1/jobs", "")
	must.Len(t, 3, told)

	must.Eq(t, "injected", told[0].Decision)
	must.Eq(t, "register", told[0].Route)
	must.Eq(t, "PUT /v1/jobs", told[0].Method+" "+told[0].Path)
	must.Eq(t, "default/web", told[0].Namespace+"/"+told[0].Job)
	must.Eq(t, []Injected{{"g", "note", "1.0.0", "policy"}}, told[0].Sidecars)
	must.Eq(t, []string{"notes"}, told[0].Rules)
	must.False(t, told[0].Denied())
	must.Eq(t, digest([]byte(job)), told[0].Before)
	must.Eq(t, digest(f.bodies[0]), told[0].After)
	must.NotEq(t, told[0].Before, told[0].After)

	must.NotEq(t, "", told[1].Before)
	must.Eq(t, "", told[1].After)
	must.True(t, told[1].Denied())
	must.Eq(t, []string{"no-batch"}, told[1].Rules)
	must.Eq(t, []string{"Not allowed by policy"}, told[1].Reasons)
	must.Eq(t, http.StatusForbidden, told[1].Status)
	must.Eq(t, "prod", told[1].Namespace)

	must.Eq(t, http.StatusBadRequest, told[2].Status)
	raw, err := json.Marshal(told)
	must.NoError(t, err)
	for _, secret := range []string{"s3cret", "h3ader", "top secret"} {
		must.StrNotContains(t, string(raw), secret)
	}
	must.StrContains(t, f.audit.String(), `"rules":["no-batch"]`)
	must.StrContains(t, f.audit.String(), `"before":"`+told[0].Before+`","after":"`+told[0].After+`"`)
}

// A rule whose sidecar cannot be injected denies the job, and the denial names the rule.
func TestDecided_RuleOfUnfitSidecar(t *testing.T) {
	f := start(t, "rule \"bridged\" {\n  match {\n    job = [\"web\"]\n  }\n  inject \"other\" {}\n}\n")
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	resp, _ := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.Eq(t, http.StatusForbidden, resp.StatusCode)
	must.Eq(t, []string{"bridged"}, told[0].Rules)
}

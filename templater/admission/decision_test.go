package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
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

// What Nomad refuses, or may not have received, was not injected.
func TestDecided_AnswerOfNomad(t *testing.T) {
	for name, c := range map[string]struct {
		answer   func(w http.ResponseWriter, r *http.Request)
		decision string
		status   int
	}{
		"accepted": {nil, "injected", 200},
		"refused":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "quota", http.StatusForbidden) }, "refused", 403},
		"failed": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no leader", http.StatusInternalServerError)
		}, "refused", 500},
		"cut off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unanswered", 502},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, notePolicy)
			f.answer = c.answer
			told := make(chan Decision, 2)
			f.proxy.Decided = func(d Decision) { told <- d }
			resp, _ := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
			must.Eq(t, c.status, resp.StatusCode)
			d := <-told // written before the response, and once
			must.Eq(t, c.decision, d.Decision)
			must.Eq(t, c.status, d.Status)
			must.Len(t, 1, d.Sidecars)
			must.Eq(t, 1, strings.Count(f.audit.String(), `"msg":"job"`))
			must.StrContains(t, f.audit.String(), fmt.Sprintf(`"decision":%q`, c.decision))
			must.StrContains(t, f.audit.String(), fmt.Sprintf(`"status":%d`, c.status))
			must.Eq(t, 0, len(told))
		})
	}
}

// A client that leaves before Nomad answers is in the audit log as well.
func TestDecided_ClientLeft(t *testing.T) {
	f := start(t, notePolicy)
	ctx, leave := context.WithCancel(t.Context())
	answer := make(chan struct{})
	defer close(answer)
	f.answer = func(http.ResponseWriter, *http.Request) {
		leave()
		<-answer
	}
	told := make(chan Decision, 1)
	f.proxy.Decided = func(d Decision) { told <- d }
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, f.front.URL+"/v1/jobs", strings.NewReader(jobNamed("web")))
	must.NoError(t, err)
	_, err = http.DefaultClient.Do(req)
	must.ErrorIs(t, err, context.Canceled)
	d := <-told
	must.Eq(t, "unanswered", d.Decision)
	must.Zero(t, d.Status)
}

func TestProxy_PreserveResources(t *testing.T) {
	f := start(t, notePolicy)
	f.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"EvalID":"e"}`) }
	warning := "Sidecars keep old resources"
	_, text := f.send(http.MethodPut, "/v1/jobs", strings.Replace(jobNamed("web"), "{", `{"PreserveResources":true,`, 1))
	must.StrContains(t, text, warning)
	must.StrContains(t, text, "g/note keep their resources")
	_, text = f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.StrNotContains(t, text, warning)
	_, text = f.send(http.MethodPut, "/v1/jobs", strings.Replace(jobNamed("web"), "{", `{"PreserveResources":true,"Namespace":"dev",`, 1))
	must.StrNotContains(t, text, warning) // no sidecar
}

func TestProxy_CatalogHeader(t *testing.T) {
	f := start(t, notePolicy)
	want := job.CatalogDigest(f.proxy.InUse().Catalog)
	for _, path := range []string{"/v1/status/leader", "/v1/jobs", "/v1/validate/job"} {
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			resp, _ := f.send(method, path, `{`)
			must.Eq(t, []string{want}, resp.Header.Values(CatalogHeader), must.Sprint(method, path))
		}
	}
	f.proxy.Use(&Rules{Catalog: &sidecar.Catalog{}})
	resp, _ := f.send(http.MethodGet, "/v1/status/leader", "")
	must.NotEq(t, want, resp.Header.Get(CatalogHeader))
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

package admission

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const whoPolicy = `rule "contractors" {
  match {
    request {
      policies = ["contractor*"]
      client   = ["127.0.0.0/8", "::1"]
    }
  }
  validation {
    condition     = job.namespace == "sandbox"
    error_message = "${request.accessor} may only use the namespace sandbox."
  }
}
rule "on-call" {
  match {
    namespace = ["prod"]
  }
  validation {
    level         = "warn"
    condition     = contains(request.roles, "on-call") && request.client == "127.0.0.1"
    error_message = "Only on-call changes prod."
  }
}
`

// tokens lets the fake Nomad answer questions about tokens.
func (f *fixture) tokens(answers map[string]string) {
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/acl/token/self" {
			_, _ = io.WriteString(w, `{}`)
			return
		}
		token := r.Header.Get("X-Nomad-Token") + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if answer, ok := answers[token]; ok {
			_, _ = io.WriteString(w, answer)
			return
		}
		http.Error(w, "ACL token not found", http.StatusForbidden)
	}
}

// Rules see what Nomad says about the token of the request, wherever the token is, and are asked anew
// each time. The token itself appears nowhere.
func TestRequester_Rules(t *testing.T) {
	f := start(t, whoPolicy)
	answers := map[string]string{
		"s3cret": `{"AccessorID":"a-1","SecretID":"s3cret","Policies":["contractor-x"],"Roles":[{"ID":"r","Name":"on-call"}]}`,
		"staff":  `{"AccessorID":"a-2","Policies":["staff"],"Roles":null}`,
	}
	f.tokens(answers)
	inBody := strings.Replace(jobNamed("web"), "{", `{"SecretID":"s3cret",`, 1)
	for _, c := range []struct{ body, header, value string }{
		{jobNamed("web"), "X-Nomad-Token", "s3cret"}, {jobNamed("web"), "Authorization", "Bearer s3cret"}, {inBody, "X-Other", "x"},
	} {
		resp, text := f.send(http.MethodPut, "/v1/jobs", c.body, c.header, c.value)
		must.Eq(t, http.StatusForbidden, resp.StatusCode, must.Sprint(text))
		must.StrContains(t, text, `Rule "contractors": a-1 may only use the namespace sandbox.`)
		must.StrNotContains(t, text, "s3cret")
	}
	resp, text := f.send(http.MethodPut, "/v1/jobs?namespace=sandbox", jobNamed("web"), "X-Nomad-Token", "s3cret")
	must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(text))
	resp, text = f.send(http.MethodPut, "/v1/job/web/plan?namespace=prod", jobNamed("web"), "X-Nomad-Token", "staff")
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.StrContains(t, text, "Only on-call changes prod.")

	// Nomad is asked once for each request: the token has lost its policy meanwhile.
	before := f.count()
	answers["s3cret"] = answers["staff"]
	resp, _ = f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "X-Nomad-Token", "s3cret")
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.Eq(t, before+2, f.count())
	must.StrNotContains(t, f.audit.String(), "s3cret")
}

// The token is the one that Nomad uses, so that no other one hides the requester.
func TestRequester_TokenThatCounts(t *testing.T) {
	f := start(t, whoPolicy)
	f.tokens(map[string]string{
		"s3cret": `{"AccessorID":"a-1","Policies":["contractor-x"]}`,
		"staff":  `{"AccessorID":"a-2","Policies":["staff"]}`,
		"":       `{"AccessorID":"anonymous"}`,
	})
	denied, unknown := "a-1 may only use the namespace sandbox", "The body has two tokens"
	for _, c := range []struct{ body, header, value, want string }{
		{`{"SecretID":"s3cret",`, "Authorization", "Basic c3RhZmY6", denied},
		{`{"AuthToken":"s3cret",`, "Authorization", "Basic c3RhZmY6", denied},
		{`{"SecretID":"s3cret",`, "Authorization", "Bearer", denied},
		{`{"SecretID":"staff",`, "Authorization", "bEARER  s3cret more", denied},
		{`{"SecretID":"staff",`, "X-Nomad-Token", "s3cret", denied},
		{`{"secretid":"staff","SecretID":"s3cret",`, "X-Other", "x", "Send it once"},
		{`{"SecretID":"staff","AuthToken":"s3cret",`, "X-Other", "x", unknown},
		{`{"SecretID":"s3cret","AuthToken":"staff",`, "X-Other", "x", unknown},
		{`{"SecretID":"s3cret",`, "X-Nomad-Token", "staff", ""},
	} {
		resp, text := f.send(http.MethodPut, "/v1/jobs", strings.Replace(jobNamed("web"), "{", c.body, 1), c.header, c.value)
		what := must.Sprintf("%s %s: %s: %s", c.body, c.header, c.value, text)
		must.Eq(t, c.want == "", resp.StatusCode == http.StatusOK, what)
		must.StrContains(t, text, c.want, what)
	}
}

// If Nomad does not say whose token it is, rules that ask deny the job, and those that warn do so.
func TestRequester_Unknown(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"unknown token": func(w http.ResponseWriter) { http.Error(w, "ACL token not found", http.StatusForbidden) },
		"failure":       func(w http.ResponseWriter) { http.Error(w, "no leader", http.StatusInternalServerError) },
		"no JSON":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") },
		"too long": func(w http.ResponseWriter) {
			_, _ = w.Write(append([]byte(`{"Policies":["`), bytes.Repeat([]byte("x"), selfBytes)...))
		},
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(http.StatusFound) },
		"cut off":  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		f := start(t, whoPolicy)
		f.answer = func(w http.ResponseWriter, _ *http.Request) { answer(w) }
		resp, text := f.send(http.MethodPut, "/v1/jobs?namespace=prod", jobNamed("web"), "X-Nomad-Token", "s3cret")
		must.Eq(t, http.StatusForbidden, resp.StatusCode, must.Sprint(name, text))
		must.StrContains(t, text, `Rule "contractors" of the policy depends on request, which is unknown.`, must.Sprint(name))
		must.StrContains(t, text, `Warnings:`, must.Sprint(name))
		must.StrNotContains(t, text, "s3cret")
	}
}

// Without ACLs nobody has a policy, and policies without such rules ask nothing.
func TestRequester_NotAsked(t *testing.T) {
	f := start(t, whoPolicy)
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/acl/token/self" {
			http.Error(w, "ACL support disabled", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}
	resp, _ := f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.Eq(t, 2, f.count())
	f.proxy.Use(rulesOf(t, notePolicy))
	f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "X-Nomad-Token", "s3cret")
	must.Eq(t, 3, f.count())
}

// A revert is judged by who asks for it, too.
func TestRequester_Revert(t *testing.T) {
	f := start(t, whoPolicy)
	f.reverts(t, "web")
	reverts := f.answer
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/acl/token/self" {
			_, _ = io.WriteString(w, `{"AccessorID":"a-1","Policies":["contractor-x"]}`)
			return
		}
		reverts(w, r)
	}
	resp, text := f.send(http.MethodPut, "/v1/job/web/revert", `{"JobID":"web","JobVersion":0}`, "X-Nomad-Token", "s3cret")
	must.Eq(t, http.StatusForbidden, resp.StatusCode, must.Sprint(text))
	must.StrContains(t, text, "a-1 may only use the namespace sandbox")
}

package admission

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// planted must not appear in any response, log or metric. Its quotes and brackets are escaped
// differently by different encoders.
const planted = `pl4nted "s3cret" ${x} <&>`

// vaultDefinition has a sensitive parameter in every part that may fail.
const vaultDefinition = `sidecar "vault" {
  version = "1.0.0"
  parameter "secret" {
    type      = string
    sensitive = true
    validation {
      condition     = substr(param.secret, 0, 2) != "no"
      error_message = "secret must not begin with no."
    }
  }
  parameter "pin" {
    type      = number
    sensitive = true
    default   = 0
  }
  parameter "words" {
    type      = list(string)
    sensitive = true
    default   = []
    validation {
      condition     = length([for w in param.words : w if cidrhost(w, 1) == ""]) == 0
      error_message = "words are networks."
    }
  }
  parameter "way" {
    default = ""
  }
  locals {
    cut = substr(param.secret, 0, 7)
  }
  task "vault" {
    driver = "docker"
    user   = param.way == "call" ? cidrhost(param.secret, 1) : null
    leader = param.way == "type" ? param.secret : null
    env {
      CUT   = param.way == "part" ? cidrhost(local.cut, 1) : ""
      INDEX = param.way == "index" ? { a = "b" }[param.secret] : ""
    }
    config {
      args = [param.way == "config" ? "$${lower(x)}${param.secret}" : ""]
    }
    resources {
      cpu = param.way == "parse" ? param.secret : 1
    }
  }
  app {
    env {
      PASSWORD = param.secret
    }
    dynamic "template" {
      for_each = param.way == "each" ? split(",", cidrhost(param.secret, 1)) : split(",", "")
      content {
        destination = "local/x"
        data        = "x"
      }
    }
  }
}
`

// quoted returns text as a JSON string that is also valid HCL.
func quoted(text string) string {
	out, _ := json.Marshal(text) // a string always marshals
	return strings.ReplaceAll(string(out), "${", "$${")
}

// secretRules returns a catalog with that sidecar, and a policy.
func secretRules(t *testing.T, text string) *Rules {
	t.Helper()
	c, p := &sidecar.Catalog{}, &policy.Policy{}
	diags := c.Load(fstest.MapFS{"vault.sidecar.hcl": {Data: []byte(vaultDefinition)}}, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	diags = append(p.Add([]byte(text), "p.hcl"), p.CheckCatalog(c)...)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return &Rules{Catalog: c, Policy: p, Region: "global"}
}

func injecting(values, rest string) string {
	return "rule \"v\" {\n  inject \"vault\" {\n" + values + "\n  }\n" + rest + "\n}\n"
}

// withMeta returns a job with this group meta.
func withMeta(meta map[string]string) string {
	raw, _ := json.Marshal(meta) // strings always marshal
	return strings.Replace(jobNamed("web"), `"Tasks"`, `"Meta":`+string(raw)+`,"Tasks"`, 1)
}

// leaks finds parts of the secret in a text, in any escaping. No part consists of digits only,
// because the log contains many numbers.
func leaks(text string) bool {
	for _, part := range []string{"pl4nted", "s3cret", "f0rty"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

func TestSecrets_Outputs(t *testing.T) {
	secret := quoted(planted)
	byPolicy := func(way string) string { return injecting("secret = "+secret+"\nway = \""+way+"\"", "") }
	byMeta := func(way string) string {
		return withMeta(map[string]string{"sidecar.inject": "vault", "sidecar.vault.secret": planted, "sidecar.vault.way": way})
	}
	taken := strings.Replace(jobNamed("web"), `"Driver":"raw_exec"`, `"Driver":"raw_exec","Env":{"PASSWORD":"mine"}`, 1)
	nothing := "rule \"n\" {\n match {\n job = [\"none\"]\n }\n inject \"vault\" {}\n}\n"
	quotes := "rule \"q\" {\n  validation {\n    condition = group.meta[\"sidecar.vault.secret\"] == \"\"\n    error_message = \"It is ${group.meta[\"sidecar.vault.secret\"]}, that is ${jsonencode(group.meta)}.\"\n  }\n}\n"
	calls := "rule \"q\" {\n  validation {\n    condition = cidrhost(group.meta[\"sidecar.vault.secret\"], 1) != \"\"\n    error_message = \"x\"\n  }\n}\n"
	for name, c := range map[string]struct{ policy, job, says string }{
		"call":              {byPolicy("call"), jobNamed("web"), "Error in function call"},
		"part of it":        {byPolicy("part"), jobNamed("web"), "which is sensitive"},
		"index":             {byPolicy("index"), jobNamed("web"), "Invalid index"},
		"for_each":          {byPolicy("each"), jobNamed("web"), "which is sensitive"},
		"config":            {injecting("secret = \"pl4nted $${lower(s3cret)}\"\nway = \"config\"", ""), jobNamed("web"), "Value would be interpreted"},
		"type":              {byPolicy("type"), jobNamed("web"), "Cannot edit the job"},
		"Nomad's parser":    {byPolicy("parse"), jobNamed("web"), "Cannot edit the job"},
		"clash":             {byPolicy(""), taken, "Environment variable taken"},
		"rule not met":      {injecting(`secret = "no-pl4nted-s3cret"`, ""), jobNamed("web"), "must not begin with no"},
		"wrong type":        {injecting("secret = "+secret+"\npin = "+secret, ""), jobNamed("web"), "Wrong type of parameter"},
		"condition":         {injecting("secret = \"x\"\nwords = ["+secret+"]", ""), jobNamed("web"), "Invalid validation"},
		"in the policy":     {injecting("secret = \"${cidrhost("+secret+", 1)}${job.id}\"", ""), jobNamed("web"), `parameter "secret" of sidecar "vault", which is sensitive`},
		"skipped":           {injecting("secret = "+secret+"\nway = \"call\"", "on_error = \"skip\""), jobNamed("web"), ""},
		"meta, call":        {nothing, byMeta("call"), "which is sensitive"},
		"meta, clash":       {nothing, strings.Replace(byMeta(""), `"Driver":"raw_exec"`, `"Driver":"raw_exec","Env":{"PASSWORD":"mine"}`, 1), "taken"},
		"meta, pin":         {nothing, withMeta(map[string]string{"sidecar.inject": "vault", "sidecar.vault.secret": "x", "sidecar.vault.pin": "f0rty"}), "Wrong type"},
		"meta, expression":  {nothing, withMeta(map[string]string{"sidecar.inject": "vault", "sidecar.vault.secret": "x", "sidecar.vault.words": "[pl4nted]"}), "Wrong type of parameter"},
		"meta, quoted":      {quotes, withMeta(map[string]string{"sidecar.vault.secret": planted}), "It is (sensitive), that is"},
		"meta, condition":   {calls, withMeta(map[string]string{"sidecar.vault.secret": planted}), "cannot be evaluated"},
		"meta, no UTF-8":    {nothing, withMeta(map[string]string{"sidecar.inject": "vault", "sidecar.vault.secret": "no\xffpl4nted"}), "begin with no"},
		"meta, no sidecar":  {nothing, withMeta(map[string]string{"sidecar.inject": "vualt", "sidecar.vault.secret": planted}), "Unknown sidecar"},
		"injected as it is": {byPolicy(""), jobNamed("web"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, notePolicy)
			f.proxy.Use(secretRules(t, c.policy))
			registry := prometheus.NewRegistry()
			f.proxy.Metrics = NewMetrics(registry)
			for _, path := range []string{"/v1/jobs", "/v1/job/web/plan", "/v1/validate/job"} {
				resp, text := f.send(http.MethodPut, path, c.job)
				must.False(t, leaks(text), must.Sprint(text))
				must.False(t, leaks(fmt.Sprint(resp.Header)))
				if c.says == "" {
					must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(text))
					continue
				}
				must.StrContains(t, text, strings.ReplaceAll(c.says, `"`, map[bool]string{true: `\"`, false: `"`}[path == "/v1/validate/job"]))
			}
			must.StrContains(t, f.audit.String(), `"msg":"job"`)
			must.False(t, leaks(f.audit.String()), must.Sprint(f.audit.String()))
			scrape := httptest.NewRecorder()
			promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			must.StrContains(t, scrape.Body.String(), "nomad_sidecar_requests_total")
			must.False(t, leaks(scrape.Body.String()))
		})
	}
}

func TestSecrets_DeniedRevert(t *testing.T) {
	f := start(t, notePolicy)
	f.proxy.Use(secretRules(t, injecting("secret = "+quoted(planted)+"\nway = \"call\"", "")))
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, fmt.Sprintf(`{"Versions":[%s]}`, numbered(t, []byte(jobNamed("web")), 0))) // a missing response fails the test
	}
	resp, text := f.send(http.MethodPut, "/v1/job/web/revert", `{"JobID":"web","JobVersion":0}`)
	must.Eq(t, http.StatusForbidden, resp.StatusCode)
	must.StrContains(t, text, `lacks sidecar "vault"`)
	must.False(t, leaks(text+f.audit.String()))
}

package admission

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

const composed = `{"Job":{"ID":"shop","Name":"shop","TaskGroups":[{"Name":"web","Networks":[{"Mode":"bridge"}],` +
	`"Meta":{"sidecar.inject":"tls-proxy,rate-limit","sidecar.tls-proxy.app_port":"${sidecar.rate-limit.port}",` +
	`"sidecar.rate-limit.app_port":"${sidecar.oauth2-proxy.port}","sidecar.rate-limit.rate":"10"},` +
	`"Tasks":[{"Name":"app","Driver":"pod","Config":{"command":"/bin/app"}}]}]}}`

const composedPolicy = `rule "staff" {
  inject "oauth2-proxy" {
    app_port         = 8080
    public_url       = "https://shop.example.com"
    issuer_url       = "https://login.example.com"
    secrets_variable = "nomad/jobs/shop"
    email_domains    = ["example.com"]
  }
}
`

// serve makes the same job as inject of sidecars that use each other's outputs, at registration, at
// planning and when Nomad's job comes back.
func TestOutputs_SameAsInject(t *testing.T) {
	rules := rulesFrom(t, os.DirFS("../../jobs/sidecars"), composedPolicy)
	doc, diags := jsonjob.Parse([]byte(composed), "job.json", rules.Catalog)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	in, diags := templater.Inject(doc, rules.Catalog, templater.Flags{Policy: rules.Policy})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.StrContains(t, string(in.Output), `"-app=127.0.0.1:4180"`)

	f := startWith(t, rules)
	for _, path := range []string{"/v1/jobs", "/v1/job/shop/plan"} {
		for _, body := range []string{composed, string(in.Output)} {
			resp, text := f.send(http.MethodPut, path, body)
			must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(text))
			_, sent := f.last(t)
			must.Eq(t, string(in.Output), string(sent))
		}
	}
}

// The outputs of a sidecar that a block chose are not known when its job comes back, so a rule that
// needs them denies the job and says why.
func TestOutputs_OfKeptSidecar(t *testing.T) {
	rules := rulesFrom(t, os.DirFS("../../jobs/sidecars"), `rule "limit" {
  inject "rate-limit" {
    app_port = sidecar.oauth2-proxy.port
    rate     = 10
  }
}
`)
	f, diags := hcljob.Parse([]byte(`job "shop" {
  group "web" {
    network {
      mode = "bridge"
    }
    sidecar "oauth2-proxy" {
      app_port         = 8080
      public_url       = "https://shop.example.com"
      issuer_url       = "https://login.example.com"
      secrets_variable = "nomad/jobs/shop"
      email_domains    = ["example.com"]
    }
    task "app" {
      driver = "pod"
    }
  }
}
`), "shop.nomad.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	in, diags := templater.Inject(f, rules.Catalog, templater.Flags{Policy: rules.Policy})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	injected, diags := hcljob.Parse(in.Output, "shop.nomad.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	body, diags := injected.SourceJSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	resp, text := startWith(t, rules).send(http.MethodPut, "/v1/jobs", string(body))
	must.Eq(t, http.StatusForbidden, resp.StatusCode, must.Sprint(text))
	must.StrContains(t, text, "its outputs are not known any more. Choose both sidecars by meta")
}

const usingOutputs = `sidecar "uses" {
  version = "1.0.0"
  task "uses" {
    driver = "pod"
    env {
      A = sidecar.gives.address
      B = sidecar.gives.port
    }
  }
}
`

const givingOutputs = `sidecar "gives" {
  version = "1.0.0"
  output "address" {
    value = "127.0.0.1:1"
  }
  output "port" {
    value = 1
  }
  task "gives" {
    driver = "pod"
  }
}
`

const takingOutputs = `sidecar "takes" {
  version = "1.0.0"
  parameter "a" {
    type    = string
    default = "x"
  }
  parameter "b" {
    type    = string
    default = "x"
  }
  task "takes" {
    driver = "pod"
  }
}
`

// The errors and warnings about outputs of a kept sidecar, in blocks of definitions and in meta.
func TestOutputs_Kept(t *testing.T) {
	rules := rulesFrom(t, fstest.MapFS{
		"uses.sidecar.hcl": {Data: []byte(usingOutputs)}, "gives.sidecar.hcl": {Data: []byte(givingOutputs)}, "takes.sidecar.hcl": {Data: []byte(takingOutputs)},
	}, "rule \"none\" {\n  match {\n    job = [\"nosuch\"]\n  }\n  inject \"gives\" {}\n}\n")
	send := func(blocks, meta string) (int, string) {
		f, diags := hcljob.Parse([]byte("job \"shop\" {\n  group \"web\" {\n    "+blocks+"\n    task \"app\" {\n      driver = \"pod\"\n    }\n  }\n}\n"), "shop.nomad.hcl", hcljob.Inputs{})
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		in, diags := templater.Inject(f, rules.Catalog, templater.Flags{})
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		injected, diags := hcljob.Parse(in.Output, "shop.nomad.hcl", hcljob.Inputs{})
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		body, diags := injected.SourceJSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		var whole map[string]any
		must.NoError(t, json.Unmarshal(body, &whole))
		values := map[string]string{}
		must.NoError(t, json.Unmarshal([]byte(meta), &values))
		whole["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)["Meta"] = values
		body, err := json.Marshal(whole)
		must.NoError(t, err)
		fixture := startWith(t, rules)
		fixture.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"EvalID":"e"}`) }
		resp, text := fixture.send(http.MethodPut, "/v1/jobs", string(body))
		return resp.StatusCode, text
	}
	const kept = `group "web" keeps sidecar "gives" as a block chose it earlier, and its outputs are not known any more`

	status, text := send(`sidecar "gives" {}`, `{"sidecar.inject":"uses"}`)
	must.Eq(t, http.StatusForbidden, status)
	must.StrContains(t, text, kept)
	must.Eq(t, 1, strings.Count(text, "Sidecar not chosen"), must.Sprint(text))

	status, text = send(`sidecar "gives" {}`, `{"sidecar.inject":"takes","sidecar.takes.a":"${sidecar.gives.port}","sidecar.takes.b":"${sidecar.gives.address}"}`)
	must.Eq(t, http.StatusForbidden, status)
	must.StrContains(t, text, kept)
	must.Eq(t, 1, strings.Count(text, "Sidecar not chosen"), must.Sprint(text))

	status, text = send("sidecar \"gives\" {}\n sidecar \"takes\" {}", `{"sidecar.takes.a":"${sidecar.gives.port}"}`)
	must.Eq(t, http.StatusOK, status, must.Sprint(text))
	must.StrContains(t, text, `"sidecar.takes.a\" has no effect now: group \"web\" keeps sidecar \"takes\" as a block chose it earlier`)
}

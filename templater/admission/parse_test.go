package admission

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

const blocksJob = `variable "note" {
  default = "unset"
}
job "web" {
  sidecar "note" {
    text = var.note
  }
  group "g" {
    network {
      mode = "bridge"
    }
    sidecar "other" {}
    task "app" {
      driver = "raw_exec"
      config {
        command = "app"
      }
    }
  }
}
`

// parseAnswer answers parse requests as Nomad does (command/agent/job_endpoint.go, JobsParseRequest).
func parseAnswer(w http.ResponseWriter, body []byte) {
	var ask api.JobsParseRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	j, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "input.hcl", Body: []byte(ask.JobHCL), VarContent: ask.Variables})
	if err != nil {
		http.Error(w, "Failed to parse job: "+err.Error(), http.StatusBadRequest)
		return
	}
	if ask.Canonicalize {
		j.Canonicalize()
	}
	_ = json.NewEncoder(w).Encode(j)
}

// parsing lets the fake Nomad parse jobs.
func (f *fixture) parsing() *fixture {
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		f.Lock()
		body := f.bodies[len(f.bodies)-1]
		f.Unlock()
		if r.URL.Path == "/v1/jobs/parse" {
			parseAnswer(w, body)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}
	return f
}

func parseBody(t *testing.T, ask api.JobsParseRequest) string {
	t.Helper()
	raw, err := json.Marshal(ask)
	must.NoError(t, err)
	return string(raw)
}

func canonicalJob(t *testing.T, raw string) string {
	t.Helper()
	var j api.Job
	must.NoError(t, json.Unmarshal([]byte(raw), &j), must.Sprint(raw))
	j.Canonicalize()
	out, err := json.Marshal(&j)
	must.NoError(t, err)
	return string(out)
}

// A job file with sidecar blocks is parsed like the file that inject writes, and registering the
// answer changes nothing more.
// Trap I3.
func TestParse_SameAsInject(t *testing.T) {
	f := start(t, "").parsing()
	for name, text := range map[string]string{
		"blocks": blocksJob,
		"meta":   strings.Replace(blocksJob, "  sidecar \"note\" {\n    text = var.note\n  }\n", "  meta = {\n    \"sidecar.inject\" = \"note\"\n    \"sidecar.note.text\" = \"from meta\"\n  }\n", 1),
		"dynamic": strings.Replace(blocksJob, `sidecar "other" {}`, `dynamic "sidecar" {
      for_each = ["other"]
      labels   = [sidecar.value]
      content {}
    }`, 1),
		"inherited vault": strings.Replace(blocksJob, "group \"g\" {", "group \"g\" {\n    vault {}\n", 1),
		"excluded":        strings.Replace(blocksJob, "group \"g\" {", "group \"g\" {\n    meta = {\n      \"sidecar.exclude\" = \"*\"\n    }\n", 1),
		"CRLF":            strings.ReplaceAll(blocksJob, "\n", "\r\n"),
	} {
		for _, variables := range []string{"", "note = \"given\"\nundeclared = 1\n"} {
			inputs := hcljob.Inputs{VarText: variables}
			file, diags := hcljob.Parse([]byte(text), "input.hcl", inputs)
			must.False(t, diags.HasErrors(), must.Sprint(name, diags))
			in, diags := templater.Inject(file, f.proxy.InUse().Catalog, templater.Flags{})
			must.False(t, diags.HasErrors(), must.Sprint(name, diags))
			want, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "input.hcl", Body: in.Output, VarContent: variables})
			must.NoError(t, err)
			raw, err := json.Marshal(want)
			must.NoError(t, err)

			resp, got := f.send(http.MethodPost, "/v1/jobs/parse?namespace=prod", parseBody(t, api.JobsParseRequest{JobHCL: text, Variables: variables}))
			must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(name, got))
			must.Eq(t, canonicalJob(t, string(raw)), canonicalJob(t, got), must.Sprint(name))

			_, canonical := f.send(http.MethodPost, "/v1/jobs/parse", parseBody(t, api.JobsParseRequest{JobHCL: text, Variables: variables, Canonicalize: true}))
			must.Eq(t, canonicalJob(t, got), canonicalJob(t, canonical), must.Sprint(name))

			v := f.proxy.InUse().treat(t.Context(), []byte(`{"Job":`+got+`}`), anywhere)
			must.Nil(t, v.denial, must.Sprint(name))
			must.Eq(t, `{"Job":`+got+`}`, string(v.body), must.Sprint(name))

			// nomad-pack and Terraform's provider decode the canonical answer and encode it again.
			v = f.proxy.InUse().treat(t.Context(), []byte(`{"Job":`+canonicalJob(t, canonical)+`}`), anywhere)
			must.Nil(t, v.denial, must.Sprint(name))
			must.Eq(t, canonicalJob(t, got), canonicalJob(t, strings.TrimSuffix(strings.TrimPrefix(string(v.body), `{"Job":`), "}")), must.Sprint(name))

			plain, diags := file.Plain()
			must.False(t, diags.HasErrors())
			want, err = jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "input.hcl", Body: plain, VarContent: variables})
			must.NoError(t, err)
			raw, err = json.Marshal(want)
			must.NoError(t, err)
			injected, diags := jsonjob.Parse([]byte(got), "job", f.proxy.InUse().Catalog)
			must.False(t, diags.HasErrors())
			ejected, diags := injected.Apply(nil)
			must.False(t, diags.HasErrors())
			must.Eq(t, canonicalJob(t, string(raw)), canonicalJob(t, string(ejected)), must.Sprint(name))
		}
	}
}

// Requests without sidecar blocks, and those that Nomad refuses, pass unchanged and are not logged.
func TestParse_WithoutBlocks(t *testing.T) {
	f := start(t, notePolicy).parsing()
	plain := strings.ReplaceAll(strings.ReplaceAll(blocksJob, `sidecar "other" {}`, ""), `sidecar "note"`, `meta`)
	file, diags := hcljob.Parse([]byte(blocksJob), "input.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors())
	injected, diags := templater.Inject(file, f.proxy.InUse().Catalog, templater.Flags{})
	must.False(t, diags.HasErrors())
	for _, body := range []string{
		parseBody(t, api.JobsParseRequest{JobHCL: string(injected.Output)}), // its blocks are comments
		parseBody(t, api.JobsParseRequest{JobHCL: plain}) + "\n trailing", parseBody(t, api.JobsParseRequest{JobHCL: "# sidecar\n" + plain, Canonicalize: true}),
		parseBody(t, api.JobsParseRequest{JobHCL: strings.TrimSuffix(blocksJob, "}\n")}), `{"JobHCL":["sidecar"]}`, "sidecar", "", `{"JobHCL":"sidecar","Variables":1}`,
		parseBody(t, api.JobsParseRequest{JobHCL: blocksJob, Variables: "= sidecar"}),
	} {
		f.send(http.MethodPost, "/v1/jobs/parse", body)
		_, sent := f.last(t)
		must.Eq(t, body, string(sent))
	}
	f.send(http.MethodGet, "/v1/jobs/parse", "sidecar")
	must.Eq(t, "", f.audit.String())
}

// Trap I5: Nomad parses the rest of the file, with lines of the same numbers, and its fields survive.
func TestParse_NewerFields(t *testing.T) {
	f := start(t, "")
	f.answer = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ID":"web","New":{"deep":[1.50]},"TaskGroups":[{"Name":"g","Shiny":true,"Networks":[{"Mode":"bridge"}],"Tasks":[{"Name":"app","Driver":"raw_exec","Newer":18446744073709551615}]}]}`)
	}
	text := strings.Replace(blocksJob, "driver = ", "newer = 18446744073709551615\n      driver = ", 1)
	resp, got := f.send(http.MethodPut, "/v1/jobs/parse", `{"jobhcl":`+quoted(text)+`,"Future":{"a":1.50}}`, "X-Nomad-Token", "t0ken", "Accept-Encoding", "gzip")
	must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(got))
	must.StrContains(t, got, `"New":{"deep":[1.50]}`)
	must.StrContains(t, got, `"Shiny":true`)
	must.StrContains(t, got, `"Newer":18446744073709551615`)
	must.StrContains(t, got, `"Name":"note"`)
	must.StrContains(t, got, `"Name":"other"`)
	req, sent := f.last(t)
	must.Eq(t, "t0ken", req.Header.Get("X-Nomad-Token"))
	var ask map[string]any
	must.NoError(t, json.Unmarshal(sent, &ask))
	must.StrContains(t, string(sent), `"Future":{"a":1.50}`)
	plain := ask["jobhcl"].(string)
	must.Eq(t, strings.Count(text, "\n"), strings.Count(plain, "\n"))
	must.StrContains(t, plain, "newer = 18446744073709551615")
	must.StrContains(t, f.audit.String(), `"route":"parse","decision":"injected","job":"web"`)
	must.StrNotContains(t, f.audit.String(), "t0ken")
}

// Errors name the line of the file, are in Nomad's status, and reveal no sensitive value. The
// policy takes no part in parsing.
func TestParse_Errors(t *testing.T) {
	f := start(t, notePolicy).parsing()
	for text, want := range map[string]string{
		strings.Replace(blocksJob, `"other"`, `"othre"`, 1):                                            "Unknown sidecar: There is no sidecar \"othre\" in the catalog",
		strings.Replace(blocksJob, `mode = "bridge"`, `mode = "host"`, 1):                              "Unusable network mode",
		strings.Replace(blocksJob, "text = var.note", "test = 1", 1):                                   "input.hcl:6",
		strings.Replace(blocksJob, `sidecar "other" {}`, `sidecar "other" {}; meta {}`, 1):             "",
		strings.Replace(blocksJob, "text = var.note", "text = file(\"/etc/passwd\")", 1):               "file(",
		strings.Replace(blocksJob, "driver = ", "shiny = true\n      driver = ", 1):                    "Failed to parse job: input.hcl:14",
		strings.Replace(blocksJob, "task \"app\" {", "task \"note\" {", 1):                             "Task name taken",
		strings.Replace(blocksJob, "text = var.note", "text = [\"s3cret\"]", 1):                        "Wrong type of parameter",
		strings.Replace(blocksJob, "group \"g\" {", "group \"g\" {\n    count = length(local.a)\n", 1): "",
	} {
		resp, got := f.send(http.MethodPost, "/v1/jobs/parse", parseBody(t, api.JobsParseRequest{JobHCL: text}))
		must.Eq(t, http.StatusBadRequest, resp.StatusCode, must.Sprint(got))
		must.StrContains(t, got, want)
		must.StrNotContains(t, got, "s3cret")
		must.StrNotContains(t, got, "top secret")
		must.Eq(t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
	}
	resp, got := f.send(http.MethodPost, "/v1/jobs/parse", parseBody(t, api.JobsParseRequest{JobHCL: strings.Replace(blocksJob, "    text = var.note\n", "", 1)}))
	must.Eq(t, http.StatusOK, resp.StatusCode)
	must.StrNotContains(t, got, "top secret")
	must.StrContains(t, got, `"NOTE":"nothing"`)
}

// The limits of clients apply: size of the body and of Nomad's answer, jobs in progress, and memory.
func TestParse_Limits(t *testing.T) {
	f := start(t, "").parsing()
	body := parseBody(t, api.JobsParseRequest{JobHCL: blocksJob})
	resp, _ := f.send(http.MethodPost, "/v1/jobs/parse", parseBody(t, api.JobsParseRequest{JobHCL: blocksJob + strings.Repeat("#", 1<<20)}))
	must.Eq(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	must.Zero(t, f.count())

	f.proxy.Limits.Buffers = &limit.Shares{PerClient: blockBytes + 100}
	resp, got := f.send(http.MethodPost, "/v1/jobs/parse", body)
	must.Eq(t, http.StatusTooManyRequests, resp.StatusCode, must.Sprint(got))
	must.Zero(t, f.proxy.Limits.Buffers.Used())
	must.StrContains(t, f.audit.String(), `"decision":"refused"`)
	f.proxy.Limits.Buffers = &limit.Shares{}

	f.proxy.maxAnswer = 100
	resp, got = f.send(http.MethodPost, "/v1/jobs/parse", body)
	must.Eq(t, http.StatusRequestEntityTooLarge, resp.StatusCode, must.Sprint(got))
}

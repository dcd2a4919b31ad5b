package cli_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

const newerJob = `variable "list" {
  type = list(string)
}
variable "text" {}
variable "unused" {
  default = null
}
job "newer" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      shiny  = var.text
    }
  }
}
`

// A field that only the cluster's Nomad knows is parsed there.
func TestNewerField(t *testing.T) {
	var asked api.JobsParseRequest
	var sent []byte
	nomad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/jobs/parse":
			must.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
			if strings.Contains(asked.JobHCL, "wrong") {
				http.Error(w, `input.hcl:11,7-12: Unsupported argument; "wrong"`, http.StatusBadRequest)
				return
			}
			_, _ = w.Write([]byte(`{"ID":"newer","TaskGroups":[{"Name":"g","Tasks":[{"Name":"t","Driver":"raw_exec","Shiny":"a"}]}]}`))
		case "/v1/jobs":
			var body bytes.Buffer
			_, _ = body.ReadFrom(r.Body)
			sent = body.Bytes()
			_, _ = w.Write([]byte(`{}`))
		case "/v1/job/newer/plan":
			var body bytes.Buffer
			_, _ = body.ReadFrom(r.Body)
			sent = body.Bytes()
			_, _ = w.Write([]byte(`{}`))
		}
	}))
	defer nomad.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "newer.hcl")
	must.NoError(t, os.WriteFile(file, []byte(newerJob), 0o600))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "beside.sidecar.hcl"), []byte("sidecar \"beside\" {\n  version = \"1.0.0\"\n  task \"beside\" {\n    driver = \"raw_exec\"\n  }\n}\n"), 0o600))
	run := func(environ []string, args ...string) (code int, out string) {
		var text bytes.Buffer
		p := &cli.Program{Version: "0", Args: append(args, "-catalog", dir, "-with", "beside", "-var", `list=["x","$${y}"]`, "-var", "text=a", file), Stdin: strings.NewReader(""), Stdout: &text, Stderr: &text, Environ: environ}
		code = p.Run()
		return code, text.String()
	}
	t.Setenv("NOMAD_ADDR", nomad.URL)
	environ := []string{"NOMAD_ADDR=" + nomad.URL}

	code, out := run(environ, "inject", "-out", "json")
	must.Zero(t, code, must.Sprint(out))
	must.StrContains(t, out, `"Shiny": "a"`)
	must.StrContains(t, out, "Warning: Parsed by Nomad")
	must.StrContains(t, out, `An argument named "shiny" is not expected here`)
	must.StrContains(t, out, `"Name": "beside"`)
	must.StrContains(t, asked.JobHCL, "shiny  = var.text")
	must.StrContains(t, asked.Variables, `text = "a"`)
	must.StrContains(t, asked.Variables, `list = ["x", "$${y}"]`)
	must.StrNotContains(t, asked.Variables, "unused")

	// plan and run contact a Nomad anyway.
	code, out = run(nil, "plan")
	must.Zero(t, code, must.Sprint(out))
	must.StrContains(t, string(sent), `"Shiny":"a"`)
	must.StrContains(t, out, "Warning: Parsed by Nomad")
	sent = nil
	code, out = run(nil, "run", "-detach")
	must.Zero(t, code, must.Sprint(out))
	must.StrContains(t, string(sent), `"Shiny":"a"`)
	must.StrContains(t, out, "Warning: Parsed by Nomad")

	// What works on the text alone needs no parser.
	for _, args := range [][]string{{"inject"}, {"explain"}, {"diff"}} {
		_, out = run(nil, args...)
		must.StrContains(t, out, "beside", must.Sprint(args))
		must.StrNotContains(t, out, "Error", must.Sprint(args))
	}

	// Without a connection the error names the field and the way out.
	t.Setenv("NOMAD_ADDR", "http://127.0.0.1:1")
	offline := []string{"NOMAD_ADDR=http://127.0.0.1:1"}
	for _, args := range [][]string{{"inject", "-out", "json"}, {"plan"}, {"run"}} {
		code, out = run(offline, args...)
		must.Positive(t, code, must.Sprint(args))
		must.StrContains(t, out, `An argument named "shiny" is not expected here`)
		must.StrContains(t, out, "that Nomad must parse the job")
		must.StrContains(t, out, "connection refused")
	}
	t.Setenv("NOMAD_ADDR", nomad.URL)

	// The test command as well.
	must.NoError(t, os.Mkdir(filepath.Join(dir, "tests"), 0o700))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "tests", "newer.sidecartest.hcl"), []byte(
		"test \"newer\" {\n  job = <<EOF\njob \"newer\" {\n  group \"g\" {\n    task \"t\" {\n      driver = \"raw_exec\"\n      shiny = true\n    }\n  }\n}\nEOF\n  parameters = {}\n  assert {\n    condition     = job.ID == \"newer\"\n    error_message = \"other ID\"\n  }\n}\n"), 0o600))
	for code, environ := range map[int][]string{0: environ, 1: nil} {
		var text bytes.Buffer
		p := &cli.Program{Version: "0", Args: []string{"test", "-catalog", dir, dir}, Stdin: strings.NewReader(""), Stdout: &text, Stderr: &text, Environ: environ}
		must.Eq(t, code, p.Run(), must.Sprint(text.String()))
		must.StrContains(t, text.String(), map[int]string{0: "newer (parsed by Nomad)", 1: "set NOMAD_ADDR"}[code])
	}

	// Without a Nomad the error says what to do; a name that Nomad does not know either is an error.
	code, out = run(nil, "inject", "-out", "json")
	must.One(t, code)
	must.StrContains(t, out, `An argument named "shiny" is not expected here`)
	must.StrContains(t, out, "set NOMAD_ADDR")
	must.NoError(t, os.WriteFile(file, []byte(strings.Replace(newerJob, "shiny", "wrong", 1)), 0o600))
	code, out = run(environ, "inject", "-out", "json")
	must.One(t, code)
	must.StrContains(t, out, `newer.hcl:11,7-12: Unsupported argument; "wrong"`)
}

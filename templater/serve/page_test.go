package serve_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const pagedDefinition = `sidecar "note" {
  version = "1.0.0"
  summary = "A note."
  parameter "text" {
    type    = string
    default = "nothing"
  }
  parameter "key" {
    type      = string
    default   = "unknown"
    sensitive = true
  }
  task "note" {
    driver = "raw_exec"
    env {
      TEXT = param.text
      KEY  = param.key
    }
    config {
      command = "true"
    }
  }
}
`

const pagedPolicy = `rule "notes" {
  inject "note" {
    text = "said: k3y-of-note"
    key  = "k3y-of-note"
  }
}
`

// guarded is a Nomad with one job, readable with one of the tokens.
func guarded(t *testing.T, tokens ...string) *httptest.Server {
	t.Helper()
	answers := map[string]string{
		"/v1/deployments": `[]`, "/v1/jobs": `[{"ID":"web","Namespace":"prod"}]`,
		"/v1/job/web": `{"ID":"web","Namespace":"prod","Type":"service","Status":"running","TaskGroups":[{"Name":"g","Count":1,"Tasks":[{"Name":"app","Driver":"raw_exec"}]}]}`,
	}
	n := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		has := r.Header.Get("X-Nomad-Token")
		if r.Method == http.MethodGet && !strings.Contains(" "+strings.Join(tokens, " ")+" ", " "+has+" ") {
			http.Error(w, "Permission denied", http.StatusForbidden)
			return
		}
		w.Header().Set("X-Nomad-Index", "7")
		w.Header().Set("X-Nomad-LastContact", "0")
		w.Header().Set("X-Nomad-KnownLeader", "true")
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, answers[r.URL.Path]) // a missing response fails the test
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	t.Cleanup(n.Close)
	return n
}

// pagedJob is a job in the page's API.
type pagedJob struct {
	Job struct {
		Groups []struct {
			Sidecars []struct{ Name, State, Reason string }
		}
	}
	Upgrade     string
	Explanation json.RawMessage
}

func (s *serving) pageOf(path string, holds func(code int, text string) bool) string {
	s.t.Helper()
	deadline := time.After(testtimeout.Scale(20 * time.Second))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		code, text := s.get(s.admin + path)
		if holds(code, text) {
			return text
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("%s does not come to it: %d %s", path, code, text)
		}
	}
}

func isOK(code int, _ string) bool { return code == http.StatusOK }

func TestServe_FleetPage(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	writeFile(t, filepath.Join(dir, "note.sidecar.hcl"), pagedDefinition)
	writeFile(t, filepath.Join(dir, "notes.policy.hcl"), pagedPolicy)
	writeFile(t, token, "t0ken-of-fleet\n")
	nomad := guarded(t, "t0ken-of-fleet")
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-policy", dir, "-catalog", dir, "-nomad-addr", nomad.URL, "-fleet-token", token)
	must.Eq(t, "injected", s.decision("http"))

	var got pagedJob
	text := s.pageOf("/api/job?namespace=prod&id=web", isOK)
	must.NoError(t, json.Unmarshal([]byte(text), &got))
	must.Eq(t, "missing", got.Job.Groups[0].Sidecars[0].State)
	must.Eq(t, "rule notes chooses it", got.Job.Groups[0].Sidecars[0].Reason)
	must.Eq(t, "nomad-sidecar upgrade -policy "+dir+" -catalog "+dir+" -namespace prod web", got.Upgrade)
	must.Eq(t, explainedHere(t, dir), explained(t, got.Explanation))

	all := text
	for path, want := range map[string]string{
		"/": "prod/</span>web", "/job?namespace=prod&id=web": "chosen by policy (" + dir + "/notes.policy.hcl:2)", "/upgrades": "", "/denials": "",
		"/admissions": "note 1.0.0 by policy", "/api/fleet": `"id": "web"`, "/api/decisions": `"decision": "injected"`, "/api/upgrades": "", "/api/state": "",
	} {
		code, body := s.get(s.admin + path)
		must.Eq(t, http.StatusOK, code, must.Sprint(path))
		must.StrContains(t, body, want, must.Sprint(path))
		all += body
	}
	for _, secret := range []string{"t0ken-of-fleet", "k3y-of-note"} {
		must.StrNotContains(t, all, secret)
	}
	s.end()
}

// explainedHere returns the explain command's output for the same job.
func explainedHere(t *testing.T, dir string) *explanation.Job {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nomad-sidecar", "explain", "-json", "-policy", dir, "-catalog", dir, "-")
	cmd.Stdin = strings.NewReader(`{"ID":"web","Namespace":"prod","Type":"service","TaskGroups":[{"Name":"g","Count":1,"Tasks":[{"Name":"app","Driver":"raw_exec"}]}]}`)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must.NoError(t, err)
	return explained(t, out)
}

// explained removes the group's position: the page has no file.
func explained(t *testing.T, raw []byte) *explanation.Job {
	t.Helper()
	out := &explanation.Job{}
	must.NoError(t, json.NewDecoder(bytes.NewReader(raw)).Decode(out))
	must.Len(t, 1, out.Groups)
	for _, s := range out.Groups[0].Sidecars {
		for _, p := range s.Parameters {
			var plain bytes.Buffer
			if p.Value != nil {
				must.NoError(t, json.Compact(&plain, p.Value))
				p.Value = plain.Bytes()
			}
		}
	}
	out.Groups[0].File, out.Groups[0].Line = "", 0
	return out
}

// NOMAD_TOKEN is not used for the page.
func TestServe_NoFleetToken(t *testing.T) {
	t.Setenv("NOMAD_TOKEN", "own")
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", guarded(t, "own").URL)
	code, text := s.get(s.admin + "/api/fleet")
	must.Eq(t, http.StatusNotFound, code)
	must.StrContains(t, text, "-fleet-token")
	code, text = s.get(s.admin + "/")
	must.Eq(t, http.StatusOK, code)
	must.StrContains(t, text, "NOMAD_SIDECAR_FLEET_TOKEN")
	s.end()

	s = startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", guarded(t, "own").URL, "-fleet-token", os.DevNull)
	s.pageOf("/", func(_ int, text string) bool { return strings.Contains(text, "Permission denied") })
	s.next("the jobs cannot be read for the page")
	s.end()
	s = startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", guarded(t, "").URL, "-fleet-token", os.DevNull)
	s.pageOf("/api/job?namespace=prod&id=web", isOK)
	s.end()

	t.Setenv("NOMAD_SIDECAR_FLEET_TOKEN", "other")
	s = startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", guarded(t, "other").URL)
	s.pageOf("/api/job?namespace=prod&id=web", isOK)
	s.end()
}

// An expired token is logged, and the renewed one is used.
func TestServe_FleetTokenRenewed(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, "old")
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", guarded(t, "new").URL, "-fleet-token", token, "-fleet-every", "1s")
	s.pageOf("/", func(_ int, text string) bool {
		return strings.Contains(text, "The jobs could not be read") && strings.Contains(text, "Permission denied")
	})
	s.next("the jobs cannot be read for the page")
	writeFile(t, token, "new")
	s.pageOf("/api/job?namespace=prod&id=web", isOK)
	must.NoError(t, s.cmd.Process.Kill())
}

func TestServe_FleetTokenInvalid(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "two"), "a\nb\n")
	for args, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file", filepath.Join(dir, "two"): "several lines",
	} {
		out, err := exec.CommandContext(t.Context(), "nomad-sidecar", "serve", "-address", "127.0.0.1:0", "-admin-address", "127.0.0.1:0", "-fleet-token", args).CombinedOutput()
		must.Error(t, err)
		must.StrContains(t, string(out), want)
	}
	out, err := exec.CommandContext(t.Context(), "nomad-sidecar", "serve", "-fleet-every", "0s").CombinedOutput()
	must.Error(t, err)
	must.StrContains(t, string(out), "-fleet-every must be at least 1s")
}

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// callersCatalog has a sidecar that fits everywhere, one that needs bridge networking,
// and two in conflict.
const callersCatalog = `
sidecar "simple" {
  version = "1.0.0"
  api {
    env "SIMPLE" { value = group.name }
  }
  task "simple" { driver = "docker" }
}
---
sidecar "bridged" {
  version = "1.0.0"
  api {
    port "bridged" {}
  }
  requires { network = ["bridge"] }
  task "bridged" { driver = "docker" }
}
---
sidecar "left" {
  version = "1.0.0"
  requires { conflicts = ["right"] }
  task "left" { driver = "docker" }
}
---
sidecar "right" {
  version = "1.0.0"
  task "right" { driver = "docker" }
}
`

// callersCase is a job and a policy. Want is the tasks of the injected job, or "error: "
// and the summary of the error.
type callersCase struct {
	name, job, policy, want string
}

func callersCases() []callersCase {
	app := func(meta, group string) string {
		return "job \"j\" {\n meta = {\n" + meta + "\n}\n group \"g\" {\n" + group + "\n task \"app\" {\n driver = \"docker\"\n}\n}\n}\n"
	}
	rule := func(name, settings, sidecars string) string {
		out := "rule \"" + name + "\" {\n" + settings + "\n"
		for _, s := range strings.Fields(sidecars) {
			out += "inject \"" + s + "\" {}\n"
		}
		return out + "}\n"
	}
	inject := func(names string) string { return "\"sidecar.inject\" = \"" + names + "\"" }
	const exclude = `"sidecar.exclude" = "*"`
	return []callersCase{
		{"nothing is chosen", app("", ""), "", "g/app"},
		{"meta chooses", app(inject("simple"), ""), "", "g/app g/simple"},
		{"policy chooses", app("", ""), rule("r", "", "simple"), "g/app g/simple"},
		{"meta and policy choose", app(inject("right"), ""), rule("r", "", "simple"), "g/app g/right g/simple"},
		{"deny", app("", ""), rule("r", "", "bridged"), "error: Unusable network mode"},
		{"skip", app("", ""), rule("r", `on_error = "skip"`, "bridged"), "g/app"},
		{"skip one of two rules", app("", ""), rule("one", `on_error = "skip"`, "bridged") + rule("two", "", "simple"), "g/app g/simple"},
		{"skip fits", app("", "network {\n mode = \"bridge\"\n}"), rule("r", `on_error = "skip"`, "bridged"), "g/app g/bridged"},
		{"skip a conflict", app(inject("right"), ""), rule("r", `on_error = "skip"`, "left"), "g/app g/right"},
		{"required and skip", app("", ""), rule("r", "required = true\n on_error = \"skip\"", "bridged"), "g/app"},
		{"excluded", app(exclude, ""), rule("r", "", "simple"), "g/app"},
		{"excluded and required", app(exclude, ""), rule("r", "required = true", "simple"), "g/app g/simple"},
		{"conflict in meta", app(inject("left, right"), ""), "", "error: Conflicting sidecars"},
		{"conflict of rules", app("", ""), rule("l", "", "left") + rule("r", "", "right"), "error: Conflicting sidecars"},
		{"conflict with the job", app(inject("simple"), "task \"simple\" {\n driver = \"docker\"\n}\n"), "", "error: Task name taken"},
		{"unknown sidecar", app(inject("none"), ""), "", "error: Unknown sidecar"},
		{"validation", app("", ""), "rule \"r\" {\n validation {\n condition = group.count > 1\n error_message = \"two\"\n}\n}\n", "error: Not allowed by policy"},
		{"no match", app("", ""), rule("r", "match {\n namespace = [\"other\"]\n}", "simple"), "g/app"},
	}
}

// TestCallers_Agree compares what all callers of the pipeline make of one job.
func TestCallers_Agree(t *testing.T) {
	for _, c := range callersCases() {
		t.Run(c.name, func(t *testing.T) {
			h := newCallers(t, c)
			results := map[string]string{
				"inject": h.inject(), "inject json": h.inject("-out", "json"), "plan": h.plan(),
				"test": h.test(), "fleet": h.fleet(), "admission": h.admission(),
			}
			for name, got := range results {
				must.Eq(t, c.want, h.summary(got), must.Sprint(name))
				must.Eq(t, results["inject"], got, must.Sprint(name))
			}
		})
	}
}

// callers runs each caller on one case. A result is the JSON of the injected job, or
// "error: " and a summary.
type callers struct {
	*testing.T
	dir, definitions string
	rules            *policy.Policy // nil for none
	catalog          *sidecar.Catalog
	stored           []byte // the job in JSON, without sidecars
}

func newCallers(t *testing.T, c callersCase) *callers {
	h := &callers{T: t, dir: t.TempDir(), catalog: &sidecar.Catalog{}}
	h.definitions = filepath.Join(h.dir, "catalog")
	must.NoError(t, os.MkdirAll(filepath.Join(h.dir, "policy", "tests"), 0o755))
	must.NoError(t, os.Mkdir(h.definitions, 0o755))
	for i, text := range strings.Split(callersCatalog, "---\n") {
		h.write(filepath.Join(h.definitions, fmt.Sprintf("%d%s", i, sidecar.Suffix)), text)
	}
	must.False(t, h.catalog.Load(os.DirFS(h.definitions), "catalog").HasErrors())
	h.write(filepath.Join(h.dir, "job.hcl"), c.job)
	if c.policy == "" { // a test of a policy needs one
		c.policy = "rule \"never\" {\n match {\n namespace = [\"never\"]\n}\n inject \"simple\" {}\n}\n"
	}
	h.write(filepath.Join(h.dir, "policy", "p.policy.hcl"), c.policy)
	h.rules = &policy.Policy{}
	must.False(t, h.rules.Add([]byte(c.policy), "p.policy.hcl").HasErrors())
	must.False(t, h.rules.CheckCatalog(h.catalog).HasErrors())
	j, err := jobspec2.Parse("job.hcl", strings.NewReader(c.job))
	must.NoError(t, err)
	h.stored, err = json.Marshal(j)
	must.NoError(t, err)
	return h
}

func (h *callers) write(path, text string) { must.NoError(h, os.WriteFile(path, []byte(text), 0o600)) }

// run runs a verb on the job.
func (h *callers) run(args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	p := &cli.Program{Version: "0", Args: args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr}
	code = p.Run()
	return code, stdout.String(), stderr.String()
}

func (h *callers) inject(more ...string) string {
	args := append([]string{"inject", "-catalog", h.definitions, "-policy", filepath.Join(h.dir, "policy")}, more...)
	code, out, errs := h.run(append(args, filepath.Join(h.dir, "job.hcl"))...)
	if code != 0 {
		return firstError(errs)
	}
	return h.canonical([]byte(out))
}

// plan is the job that the verb plan sends to Nomad.
func (h *callers) plan() string {
	var sent []byte
	nomad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			sent, _ = io.ReadAll(r.Body)
		}
		_, _ = w.Write([]byte("{}"))
	}))
	defer nomad.Close()
	h.Setenv("NOMAD_ADDR", nomad.URL)
	_, _, errs := h.run("plan", "-catalog", h.definitions, "-policy", filepath.Join(h.dir, "policy"), filepath.Join(h.dir, "job.hcl"))
	if sent == nil {
		return firstError(errs)
	}
	return h.canonical(sent)
}

func (h *callers) test() string {
	golden := filepath.Join(h.dir, "policy", "tests", "golden.hcl")
	text := "test \"case\" {\n job = file(\"../../job.hcl\")\n golden = \"golden.hcl\"\n}\n"
	src, err := os.ReadFile(filepath.Join(h.dir, "job.hcl"))
	must.NoError(h, err)
	text = strings.Replace(text, "file(\"../../job.hcl\")", "<<EOF\n"+string(src)+"EOF\n", 1)
	h.write(filepath.Join(h.dir, "policy", "tests", "case.policytest.hcl"), text)
	code, out, errs := h.run("test", "-update", "-catalog", h.definitions, filepath.Join(h.dir, "policy"))
	if code != 0 {
		return firstError(out + errs)
	}
	made, err := os.ReadFile(golden)
	must.NoError(h, err)
	return h.canonical(made)
}

func (h *callers) fleet() string {
	nomad := &planned{stored: h.stored}
	rules := &fleet.Rules{Catalog: h.catalog, Policy: h.rules}
	j, err := rules.Inspect(h.stored)
	must.NoError(h, err)
	if len(j.Problems) > 0 {
		summary, _, _ := strings.Cut(j.Problems[0], ":")
		return "error: " + summary
	}
	steps, err := (&fleet.Planner{Nomad: nomad, Rules: rules}).Plan(h.Context(), []*fleet.Job{j})
	must.NoError(h, err)
	switch {
	case nomad.made != nil:
		return h.canonical(nomad.made)
	case len(steps) > 0 && steps[0].Outcome == fleet.Skipped:
		summary, _, _ := strings.Cut(steps[0].Why, ":")
		return "error: " + summary
	}
	return h.canonical(h.stored) // nothing to do
}

// planned is a Nomad with one job, which notes the job it was asked to plan.
type planned struct {
	fleet.Nomad
	stored, made []byte
}

func (p *planned) Job(context.Context, fleet.Ref) ([]byte, error) { return p.stored, nil }

func (p *planned) Deployment(context.Context, fleet.Ref) (*fleet.Deployment, error) { return nil, nil }

func (p *planned) Proxy() string { return "" }

func (p *planned) Plan(_ context.Context, _ fleet.Ref, made []byte) (*fleet.Preview, error) {
	p.made = made
	return &fleet.Preview{Differs: true}, nil
}

func (h *callers) admission() string {
	var sent []byte
	nomad := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent, _ = io.ReadAll(r.Body) }))
	defer nomad.Close()
	upstream, err := admission.OpenUpstream(nomad.URL, &api.TLSConfig{})
	must.NoError(h, err)
	proxy := admission.New(admission.Options{
		Upstream: upstream, Rules: &admission.Rules{Catalog: h.catalog, Policy: h.rules, Region: "global"},
		MaxBodyBytes: 1 << 20, BodyTimeout: time.Minute, Audit: slog.New(slog.DiscardHandler), Metrics: admission.NewMetrics(prometheus.NewRegistry()),
	})
	w := httptest.NewRecorder()
	body := `{"Job":` + string(h.stored) + `}`
	proxy.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/jobs", strings.NewReader(body)))
	if sent == nil {
		return firstError(w.Body.String())
	}
	return h.canonical(sent)
}

var digestForm = regexp.MustCompile(`sha256:([0-9a-f]{64}|…)`)

// firstError is the summary of the first error in an output.
func firstError(text string) string {
	for _, c := range callersCases() { // those that are expected
		if summary, ok := strings.CutPrefix(c.want, "error: "); ok && strings.Contains(text, summary) {
			return "error: " + summary
		}
	}
	return "no error: " + text
}

// canonical is a job, in HCL or JSON, in the JSON of Nomad's API without digests.
func (h *callers) canonical(text []byte) string {
	j := &api.Job{}
	if bytes.HasPrefix(text, []byte("{")) {
		var request struct{ Job *api.Job }
		must.NoError(h, json.Unmarshal(text, &request))
		if j = request.Job; j == nil {
			must.NoError(h, json.Unmarshal(text, &j))
		}
	} else {
		text = []byte(strings.ReplaceAll(string(text), "sha256:…", "sha256:"+strings.Repeat("0", 64)))
		var err error
		j, err = jobspec2.Parse("job.hcl", bytes.NewReader(text))
		must.NoError(h, err)
	}
	j.Namespace, j.Region = nil, nil // plan and admission complete them
	j.Canonicalize()
	out, err := json.Marshal(j)
	must.NoError(h, err)
	return digestForm.ReplaceAllString(string(out), "sha256:")
}

// summary is the tasks of a canonical job, or the error.
func (h *callers) summary(result string) string {
	if !strings.HasPrefix(result, "{") {
		return result
	}
	j := &api.Job{}
	must.NoError(h, json.Unmarshal([]byte(result), j))
	var tasks []string
	for _, g := range j.TaskGroups {
		for _, task := range g.Tasks {
			tasks = append(tasks, *g.Name+"/"+task.Name)
		}
	}
	return strings.Join(tasks, " ")
}

package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

const proxiedPolicy = "rule \"beside\" {\n  match {\n    meta = { beside = \"yes\" }\n  }\n  inject \"beside\" {}\n}\n"

// proxied is a Nomad behind an admission proxy, and a job with a sidecar.
type proxied struct {
	*testing.T
	dir, nomad string
}

func newProxied(t *testing.T) *proxied {
	t.Helper()
	p := &proxied{T: t, dir: t.TempDir()}
	_, p.nomad = startNomad(t)
	for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		must.NoError(t, os.Mkdir(p.path(version), 0o700))
		definition := fmt.Sprintf("sidecar \"beside\" {\n  version = %q\n  task \"beside\" {\n    driver = \"pod\"\n  }\n}\n", version)
		p.write(version+"/beside.sidecar.hcl", definition)
	}
	p.write("rules.policy.hcl", proxiedPolicy)
	p.write("job.hcl", "job \"web\" {\n  type = \"batch\"\n  parameterized {}\n  group \"g\" {\n    meta {\n      beside = \"yes\"\n    }\n    task \"app\" {\n      driver = \"pod\"\n    }\n  }\n}\n")
	return p
}

func (p *proxied) path(name string) string { return filepath.Join(p.dir, name) }

func (p *proxied) write(name, text string) {
	p.Helper()
	must.NoError(p, os.WriteFile(p.path(name), []byte(text), 0o600))
}

// front starts an admission proxy with the catalog of a version.
func (p *proxied) front(version string) (address string) {
	p.Helper()
	return p.frontWith(version, proxiedPolicy)
}

// frontWith is front with other rules.
func (p *proxied) frontWith(version, text string) (address string) {
	p.Helper()
	catalog, rules := &sidecar.Catalog{}, &policy.Policy{}
	diags := append(catalog.Load(os.DirFS(p.path(version)), ""), rules.Add([]byte(text), "rules.policy.hcl")...)
	must.False(p, diags.HasErrors())
	upstream, err := admission.OpenUpstream(p.nomad, &api.TLSConfig{})
	must.NoError(p, err)
	server := httptest.NewServer(admission.New(admission.Options{
		Upstream: upstream, Rules: &admission.Rules{Catalog: catalog, Policy: rules, Region: "global"},
		MaxBodyBytes: 1 << 20, BodyTimeout: time.Minute, Audit: slog.New(slog.DiscardHandler), Metrics: admission.NewMetrics(prometheus.NewRegistry()),
	}))
	p.Cleanup(server.Close)
	return server.URL
}

// run runs a command with the catalogs of versions at a Nomad.
func (p *proxied) run(address string, versions []string, args ...string) (code int, output string) {
	p.Helper()
	p.Setenv("NOMAD_ADDR", address)
	args = append(args, "-policy", p.path("rules.policy.hcl"))
	for _, v := range versions {
		args = append(args, "-catalog", p.path(v))
	}
	if args[0] == "run" || args[0] == "plan" {
		args = append(args, p.path("job.hcl"))
	}
	var out bytes.Buffer
	program := &cli.Program{Version: "0", Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
	return program.Run(), out.String()
}

// stored returns the version of the job and that of its sidecar.
func (p *proxied) stored() (version uint64, sidecar string) {
	p.Helper()
	resp, err := http.Get(p.nomad + "/v1/job/web")
	must.NoError(p, err)
	defer resp.Body.Close()
	job := &api.Job{}
	must.NoError(p, json.NewDecoder(resp.Body).Decode(job))
	for _, t := range job.TaskGroups[0].Tasks {
		if t.Name == "beside" {
			sidecar = t.Meta["sidecar.version"]
		}
	}
	return *job.Version, sidecar
}

// Trap I25.
func TestUpgrade_ServeWithOlderCatalog(t *testing.T) {
	p := newProxied(t)
	state := func(name string) []string { return []string{"-state", p.path(name), "-yes"} }
	unchanged := func(version uint64, sidecar string) {
		t.Helper()
		v, s := p.stored()
		must.Eq(t, version, v)
		must.Eq(t, sidecar, s)
	}
	older := p.front("1.0.0")
	code, out := p.run(p.nomad, []string{"1.0.0"}, "run")
	must.Zero(t, code, must.Sprint(out))

	// The plan would be empty, or downgrade the sidecar; the header names the reason.
	for n, running := range []string{"1.0.0", "1.1.0"} {
		code, out = p.run(older, []string{"1.2.0", "1.1.0", "1.0.0"}, append([]string{"upgrade"}, state(fmt.Sprint("older", n))...)...)
		must.One(t, code)
		must.StrContains(t, out, "default/web: skipped: Nomad would not register what was sent: task beside of group g is of beside 1.0.0, not beside 1.2.0. "+
			"The requests go through a nomad-sidecar serve with another catalog (sha256:")
		unchanged(uint64(n), running)
		if n == 0 {
			code, out = p.run(p.nomad, []string{"1.1.0", "1.0.0"}, append([]string{"upgrade"}, state("direct")...)...)
			must.Zero(t, code, must.Sprint(out))
		}
	}
	code, out = p.run(older, []string{"1.1.0", "1.0.0"}, append([]string{"eject", "-fleet"}, state("eject")...)...)
	must.One(t, code)
	must.StrContains(t, out, "is not removed. The requests go through")
	unchanged(1, "1.1.0")

	// With the same catalog it goes through.
	code, out = p.run(p.front("1.2.0"), []string{"1.2.0", "1.1.0"}, append([]string{"upgrade"}, state("same")...)...)
	must.Zero(t, code, must.Sprint(out))
	unchanged(2, "1.2.0")
}

func TestRun_ServeWithOlderCatalog(t *testing.T) {
	p := newProxied(t)
	code, out := p.run(p.front("1.0.0"), []string{"1.1.0"}, "run")
	must.One(t, code)
	must.StrContains(t, out, "Error: Registered with other sidecars")
	must.StrContains(t, out, "task beside of group g is of beside 1.0.0, not beside 1.1.0. The requests go through a nomad-sidecar serve with another catalog")
	code, out = p.run(p.front("1.1.0"), []string{"1.1.0"}, "run")
	must.Zero(t, code, must.Sprint(out))
}

func TestPlan_ServeWithOlderCatalog(t *testing.T) {
	p := newProxied(t)
	const says = "Warning: Planned with other sidecars"
	older := p.front("1.0.0")
	for _, registered := range []bool{false, true} {
		if registered { // Nomad plans no change
			code, out := p.run(p.nomad, []string{"1.0.0"}, "run")
			must.Zero(t, code, must.Sprint(out))
		}
		_, out := p.run(older, []string{"1.1.0"}, "plan")
		must.StrContains(t, out, says)
		must.StrContains(t, out, "task beside of group g is of beside 1.0.0, not beside 1.1.0. The requests go through a nomad-sidecar serve with another catalog")
		for _, fine := range []string{p.nomad, p.front("1.1.0")} {
			_, out = p.run(fine, []string{"1.1.0"}, "plan")
			must.StrNotContains(t, out, "Warning")
			must.StrContains(t, out, "Job modify index")
		}
	}
	_, out := p.run(older, []string{"1.0.0"}, "plan")
	must.StrNotContains(t, out, "Warning")
}

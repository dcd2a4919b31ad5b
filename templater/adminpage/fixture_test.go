package adminpage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostile is what somebody calls a job, who hopes that it is taken for HTML.
const hostile = `<img src=x onerror=alert(1)>"&'</script>`

// cluster is a source of jobs.
type cluster struct {
	mu        sync.Mutex
	jobs      []*fleet.Job
	err       error
	scans     int
	explained []fleet.Ref
}

func (c *cluster) Scan(context.Context) ([]*fleet.Job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scans++
	return c.jobs, c.err
}

func (c *cluster) Explain(_ context.Context, of fleet.Ref) (*explanation.Job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.explained = append(c.explained, of)
	if of.ID == "gone" {
		return nil, errors.New("the job no longer exists")
	}
	return &explanation.Job{ID: of.ID, Groups: []*explanation.Group{{Name: "web", Sidecars: []*explanation.Sidecar{
		{
			Name: "tls-proxy", Version: "1.2.0", State: templater.StateChosen, Constraints: []string{"~> 1.0"},
			ChosenBy: []*explanation.Source{{Origin: "policy", File: "policy/production.policy.hcl", Line: 7}},
			Parameters: []*explanation.Parameter{
				{Name: "app_port", Value: json.RawMessage("8080"), From: &explanation.Source{Origin: "policy", File: "policy/production.policy.hcl", Line: 9}},
				{Name: "key", Sensitive: true, From: &explanation.Source{Origin: "meta"}},
			},
		},
		{Name: "topz", Version: "1.1.0", State: templater.StateNotChosen, Reason: "nothing chooses it"},
	}, Adds: &explanation.Total{Count: 2, Tasks: 1, CPU: 50, Memory: 32, MemoryMax: 32, Ports: 1}}}}, nil
}

func (c *cluster) change(what func(*cluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what(c)
}

func (c *cluster) counted() (scans, explained int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.scans, len(c.explained)
}

func job(namespace, id string, sidecars ...*fleet.Sidecar) *fleet.Job {
	return &fleet.Job{
		Namespace: namespace, ID: id, Type: "service", Activity: fleet.Running, Version: 3,
		Groups: []*fleet.Group{{Name: "web", Sidecars: append([]*fleet.Sidecar{}, sidecars...)}},
	}
}

func have(name, version, newest, origin, state string) *fleet.Sidecar {
	return &fleet.Sidecar{Name: name, Version: version, Newest: newest, Origin: origin, State: state}
}

// shop is a fleet with most of what there can be.
func shop() []*fleet.Job {
	missing := have("tls-proxy", "", "1.2.0", "policy", fleet.StateMissing)
	missing.Reason = "rule tls-for-what-is-exposed chooses it"
	fromSource := have("topz", "1.0.0", "1.1.0", "block", fleet.StateOutdated)
	fromSource.Needs = fleet.NeedsSource
	mixed := job("default", "search", have("tls-proxy", "1.2.0", "1.2.0", "policy", fleet.StateOK), fromSource)
	owned := job("prod", "ledger", have("metrics", "0.9.0", "1.0.0", "meta", fleet.StateOutdated))
	owned.Owner = "terraform"
	stopped := job("prod", "old", have("tls-proxy", "1.0.0", "1.2.0", "policy", fleet.StateOutdated))
	stopped.Activity = fleet.Stopped
	wrong := job("staging", "import")
	wrong.Problems = []string{"Not allowed by policy: Rule \"every-job-has-a-team\": Job import has no team."}
	return []*fleet.Job{
		job("default", "cart", have("tls-proxy", "1.0.0", "1.2.0", "policy", fleet.StateOutdated)),
		job("default", "catalogue", have("tls-proxy", "1.2.0", "1.2.0", "policy", fleet.StateOK), have("metrics", "1.0.0", "1.0.0", "meta", fleet.StateOK)),
		mixed, job("prod", "billing", missing), owned, stopped, job("staging", "nightly"), wrong,
	}
}

func decision(namespace, id, what string) admission.Decision {
	d := admission.Decision{
		At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Client: "10.0.0.7:50122", Accessor: "9f3c1a2e-77aa-4be1-8a53-0c7f0f1d2b3c", Method: http.MethodPut, Path: "/v1/jobs", Route: "register",
		Decision: what, Job: id, Namespace: namespace, Region: "global", Took: time.Millisecond,
	}
	switch what {
	case "injected":
		d.Sidecars, d.Rules = []admission.Injected{{Group: "web", Sidecar: "tls-proxy", Version: "1.2.0", Origin: "policy"}}, []string{"tls-for-what-is-exposed"}
	case "denied":
		d.Status, d.Reasons, d.Rules = http.StatusForbidden, []string{"Not allowed by policy"}, []string{"every-job-has-a-team"}
	}
	return d
}

// fixture is a page with a cluster behind it.
type fixture struct {
	t    *testing.T
	page *Page
	*cluster
	fleet *Fleet
	url   string
}

// start serves a page of a fleet that is read when it is looked at, as often as every
// says; of none for a nil fleet.
func start(t *testing.T, jobs []*fleet.Job, every time.Duration) *fixture {
	t.Helper()
	f := &fixture{t: t, cluster: &cluster{jobs: jobs}}
	log := slog.New(slog.DiscardHandler)
	if jobs != nil {
		f.fleet = NewFleet(f.cluster, every, log)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.fleet.Run(ctx)
		}()
		t.Cleanup(func() {
			stop()
			<-done
		})
	}
	f.page = New(Options{
		Decisions: NewDecisions(500), Fleet: f.fleet, UpgradeFlags: []string{"-policy", "policy", "-catalog", "catalog"}, Loopback: true, Log: log,
	})
	server := httptest.NewServer(f.page)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// read waits until the jobs are read for the first time.
func (f *fixture) read() *fixture {
	f.t.Helper()
	f.eventually(func() bool { return f.fleet.Look().Number > 0 })
	return f
}

func (f *fixture) eventually(holds func() bool) {
	f.t.Helper()
	deadline := time.After(testtimeout.Scale(20 * time.Second))
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatal("it has not happened")
		}
	}
}

func (f *fixture) get(path string) (status int, body string) {
	f.t.Helper()
	resp := f.answer(path, "")
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must.NoError(f.t, err)
	return resp.StatusCode, string(raw)
}

func (f *fixture) answer(path, host string) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+path, nil)
	must.NoError(f.t, err)
	req.Host = host
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	must.NoError(f.t, err)
	return resp
}

// json decodes an answer that must be well.
func (f *fixture) json(path string, into any) {
	f.t.Helper()
	status, body := f.get(path)
	must.Eq(f.t, http.StatusOK, status, must.Sprint(body))
	must.NoError(f.t, json.NewDecoder(bytes.NewReader([]byte(body))).Decode(into))
}

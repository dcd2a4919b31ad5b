package admission

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

const noteDefinition = `sidecar "note" {
  version = "1.0.0"
  summary = "A note."
  parameter "text" {
    type      = string
    default   = "nothing"
    sensitive = true
  }
  task "note" {
    driver = "raw_exec"
    config {
      command = "true"
    }
    env {
      NOTE = param.text
    }
  }
}
`

const otherDefinition = `sidecar "other" {
  version = "2.0.0"
  summary = "Another one."
  requires {
    network = ["bridge"]
  }
  task "other" {
    driver = "raw_exec"
    config {
      command = "true"
    }
  }
}
`

const notePolicy = `rule "notes" {
  match {
    namespace = ["default", "prod"]
    job       = ["web*", "team/*", "plan", "x/periodic-*"]
  }
  inject "note" {
    text = "top secret"
  }
  required = true
}
`

func rulesOf(t must.T, text string) *Rules {
	t.Helper()
	return rulesFrom(t, fstest.MapFS{
		"note.sidecar.hcl": {Data: []byte(noteDefinition)}, "other.sidecar.hcl": {Data: []byte(otherDefinition)},
	}, text)
}

func rulesFrom(t must.T, catalog fs.FS, text string) *Rules {
	t.Helper()
	c := &sidecar.Catalog{}
	diags := c.Load(catalog, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	p := &policy.Policy{}
	diags = append(p.Add([]byte(text), "p.hcl"), p.CheckCatalog(c)...)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return &Rules{Catalog: c, Policy: p, Region: "global"}
}

// nomad is a server that records requests and compresses responses as Nomad does.
type nomad struct {
	sync.Mutex
	requests []*http.Request
	bodies   [][]byte
	answer   func(w http.ResponseWriter, r *http.Request) // nil: the response to a registration
}

func (n *nomad) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a read error shows as a short body
	n.Lock()
	n.requests, n.bodies = append(n.requests, r), append(n.bodies, body)
	answer := n.answer
	n.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	var out io.Writer = w
	switch accepts := r.Header.Get("Accept-Encoding"); {
	case strings.Contains(accepts, "gzip"):
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		out = z
	case strings.Contains(accepts, "deflate"):
		w.Header().Set("Content-Encoding", "deflate")
		z, _ := flate.NewWriter(w, flate.DefaultCompression) // the level is valid
		defer z.Close()
		out = z
	}
	_, _ = io.WriteString(out, `{"EvalID":"e","JobModifyIndex":18446744073709551615,"Warnings":"1 warning:\n\n* theirs"}`)
}

func (n *nomad) last(t *testing.T) (*http.Request, []byte) {
	t.Helper()
	n.Lock()
	defer n.Unlock()
	must.SliceNotEmpty(t, n.requests)
	return n.requests[len(n.requests)-1], n.bodies[len(n.bodies)-1]
}

func (n *nomad) count() int {
	n.Lock()
	defer n.Unlock()
	return len(n.requests)
}

// fixture is a proxy in front of a fake Nomad.
type fixture struct {
	*nomad
	t     *testing.T
	proxy *Proxy
	front *httptest.Server
	audit *bytes.Buffer

	connected atomic.Int64
}

// connections returns the number of connections that Nomad has accepted.
func (f *fixture) connections() int { return int(f.connected.Load()) }

func start(t *testing.T, policyText string) *fixture {
	t.Helper()
	return startWith(t, rulesOf(t, policyText))
}

func startWith(t *testing.T, rules *Rules) *fixture {
	t.Helper()
	f := &fixture{nomad: &nomad{}, t: t, audit: &bytes.Buffer{}}
	back := httptest.NewUnstartedServer(f.nomad)
	back.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.connected.Add(1)
		}
	}
	back.Start()
	t.Cleanup(back.Close)
	up, err := OpenUpstream(back.URL, nil)
	must.NoError(t, err)
	f.proxy = New(Options{
		Upstream: up, Rules: rules, MaxBodyBytes: 1 << 20, BodyTimeout: time.Minute,
		Audit: slog.New(slog.NewJSONHandler(f.audit, nil)), Metrics: NewMetrics(prometheus.NewRegistry()),
	})
	f.front = httptest.NewServer(f.proxy)
	t.Cleanup(func() {
		f.front.Close()
		up.Transport.CloseIdleConnections()
	})
	return f
}

// send sends a request with an escaped path.
func (f *fixture) send(method, path, body string, headers ...string) (*http.Response, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.front.URL+path, strings.NewReader(body))
	must.NoError(f.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	for range 5 {
		// An early refusal can be lost while the client still writes (RFC 9112, section 9.6).
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			break
		}
		req.Body, err = req.GetBody()
		must.NoError(f.t, err)
		resp, err = client.Do(req)
	}
	must.NoError(f.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must.NoError(f.t, err)
	return resp, string(raw)
}

func jobNamed(id string) string {
	return `{"Job":{"ID":"` + id + `","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"raw_exec","Config":{"command":"app"}}]}]}}`
}

// tasksOf returns the names of the tasks of a request's job.
func tasksOf(t *testing.T, body []byte) []string {
	t.Helper()
	var req api.JobRegisterRequest
	must.NoError(t, json.Unmarshal(body, &req), must.Sprint(string(body)))
	var names []string
	for _, g := range req.Job.TaskGroups {
		for _, task := range g.Tasks {
			names = append(names, task.Name)
		}
	}
	return names
}

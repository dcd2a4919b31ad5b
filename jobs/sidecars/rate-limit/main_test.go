package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) string { return "" }

// never is a rate at which no token comes back within a test.
const never = "-rate=0.0001"

// pod is the program in front of an application.
type pod struct {
	t          *testing.T
	url, admin string
	http       *http.Client
	stop       context.CancelFunc
	ended      chan error
}

func newPod(t *testing.T, app http.Handler, args ...string) *pod {
	t.Helper()
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	return newPodAt(t, strings.TrimPrefix(server.URL, "http://"), args...)
}

func newPodAt(t *testing.T, app string, args ...string) *pod {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &pod{t: t, stop: cancel, ended: make(chan error, 1)}
	log := &programtest.Output{}
	args = append([]string{"-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-app", app}, args...)
	go func() {
		p.ended <- run(ctx, args, noEnv, log)
		close(p.ended)
	}()
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		must.NoError(t, <-p.ended)
	})
	p.http = &http.Client{Transport: transport}
	urls := log.Wait(t, `url=(http://\S+) admin=(http://\S+) `)
	p.url, p.admin = urls[0], urls[1]
	return p
}

// answer is a response that was read.
type answer struct {
	*http.Response
	body string
}

func (p *pod) send(method, url string, change func(*http.Request)) answer {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, url, nil)
	must.NoError(p.t, err)
	if change != nil {
		change(r)
	}
	response, err := p.http.Do(r)
	must.NoError(p.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must.NoError(p.t, err)
	return answer{response, string(body)}
}

func (p *pod) get(path string) answer { return p.send(http.MethodGet, p.url+path, nil) }

// metric is the value of a series, as text.
func (p *pod) metric(series string) string {
	p.t.Helper()
	for line := range strings.Lines(p.send(http.MethodGet, p.admin+"/metrics", nil).body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	p.t.Fatalf("no metric %s", series)
	return ""
}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "app") }

func TestABurstThen429(t *testing.T) {
	p := newPod(t, http.HandlerFunc(ok), never, "-burst", "3", "-key-header", "X-Api-Key")
	for left := 2; left >= 0; left-- {
		a := p.get("/")
		must.Eq(t, http.StatusOK, a.StatusCode)
		must.Eq(t, "app", a.body)
		must.Eq(t, `"client";q=3;w=30000`, a.Header.Get("RateLimit-Policy"))
		must.StrHasPrefix(t, fmt.Sprintf(`"client";r=%d;t=`, left), a.Header.Get("RateLimit"))
	}
	a := p.get("/")
	must.Eq(t, http.StatusTooManyRequests, a.StatusCode)
	must.RegexMatch(t, regexp(`^(9999|10000)$`), a.Header.Get("Retry-After"))
	must.StrHasPrefix(t, `"client";r=0;t=`, a.Header.Get("RateLimit"))
	must.RegexMatch(t, regexp(`^rate-limit: too many requests; try again in \d+ s\n$`), a.body)

	other := p.send(http.MethodGet, p.url, func(r *http.Request) { r.Header.Set("X-Api-Key", "other") })
	must.Eq(t, http.StatusOK, other.StatusCode, must.Sprint("another client has a bucket of its own"))
	must.Eq(t, "4", p.metric(`rate_limit_requests_total{result="passed"}`))
	must.Eq(t, "1", p.metric(`rate_limit_requests_total{result="client"}`))
	must.Eq(t, "2", p.metric("rate_limit_clients"))
}

func TestAllClientsTogether(t *testing.T) {
	p := newPod(t, http.HandlerFunc(ok), never, "-burst", "10", "-global-rate", "0.0001", "-global-burst", "2")
	must.Eq(t, http.StatusOK, p.get("/").StatusCode)
	must.Eq(t, http.StatusOK, p.get("/").StatusCode)
	a := p.get("/")
	must.Eq(t, http.StatusTooManyRequests, a.StatusCode)
	must.StrHasPrefix(t, "rate-limit: too many requests of all clients; ", a.body)
	must.Eq(t, "1", p.metric(`rate_limit_requests_total{result="global"}`))
}

func TestAdminIsApart(t *testing.T) {
	p := newPod(t, http.HandlerFunc(ok), "-rate", "1000")
	must.Eq(t, "ok\n", p.send(http.MethodGet, p.admin+"/healthz", nil).body)
	must.Eq(t, http.StatusNotFound, p.send(http.MethodGet, p.admin+"/", nil).StatusCode)
	for _, path := range []string{"/healthz", "/metrics"} {
		must.Eq(t, "app", p.get(path).body, must.Sprint("those paths are the application's"))
	}
}

func TestMetricsFollowTheNamingRules(t *testing.T) {
	limiter, err := limit.New(limit.Rate{PerSecond: 1, Burst: 1}, limit.Rate{}, 1)
	must.NoError(t, err)
	registry := prometheus.NewPedanticRegistry()
	newCounts(registry, limiter)
	problems, err := testutil.GatherAndLint(registry)
	must.NoError(t, err)
	must.SliceEmpty(t, problems)
	count, err := testutil.GatherAndCount(registry, "rate_limit_requests_total")
	must.NoError(t, err)
	must.Eq(t, 4, count, must.Sprint("each result is there from the beginning"))
}

func TestRefusesBadInput(t *testing.T) {
	const app = "-app 127.0.0.1:8080 "
	for args, want := range map[string]string{
		"-rate 1":                                    `-app "" is not a host and a port`,
		"-rate 1 -app 8080":                          `-app "8080" is not a host and a port`,
		app:                                          "-rate and -burst: 0 requests per second: want more than 0",
		app + "-rate NaN":                            "want more than 0",
		app + "-rate 1 x":                            `unexpected argument "x"`,
		app + "-rate 1 -b 3":                         "flag provided but not defined",
		app + "-rate 1 -burst -1":                    "a burst of -1: want 1 or more",
		app + "-rate 1 -global-burst 3":              "-global-rate and -global-burst: 0 requests per second",
		app + "-rate 1 -max-clients 0":               "-max-clients must be 1 or more",
		app + "-rate 1 -key-header X-Api-Key:":       "is not the name of a header",
		app + "-rate 1 -trusted-proxy proxy":         `"proxy" is neither an address nor a network`,
		app + "-rate 1 -listen x":                    "listen: ",
		app + "-rate 1 -listen 127.0.0.1:0 -admin x": "-admin: listen: ",
	} {
		must.ErrorContains(t, run(t.Context(), strings.Fields(args), noEnv, io.Discard), want, must.Sprint(args))
	}
	must.ErrorIs(t, run(t.Context(), []string{"-h"}, noEnv, io.Discard), flag.ErrHelp)
}

package adminpage

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

func TestFleetAsJSON(t *testing.T) {
	f := start(t, shop(), time.Hour).read()
	var got struct {
		ReadAt     time.Time    `json:"read_at"`
		AgeSeconds *float64     `json:"age_seconds"`
		Jobs       []*fleet.Job `json:"jobs"`
	}
	f.json("/api/fleet", &got)
	must.Eq(t, shop(), got.Jobs)
	must.False(t, got.ReadAt.IsZero())
	must.NotNil(t, got.AgeSeconds)

	var upgrades struct {
		Jobs []map[string]any `json:"jobs"`
	}
	f.json("/api/upgrades", &upgrades)
	must.Len(t, 3, upgrades.Jobs)
	must.Eq(t, map[string]any{
		"namespace": "default", "id": "cart", "changes": []any{"web: tls-proxy 1.0.0 → 1.2.0"},
		"command": "nomad-sidecar upgrade -policy policy -catalog catalog -namespace default cart",
	}, upgrades.Jobs[0])
}

func TestAJobAsJSON(t *testing.T) {
	f := start(t, append(shop(), job("default", "gone")), time.Hour).read()
	f.page.Decisions.Add(decision("default", "cart", "injected"))
	f.page.Decisions.Add(decision("prod", "cart", "denied"))
	type answer struct {
		Job         *fleet.Job       `json:"job"`
		Upgrade     string           `json:"upgrade"`
		Explanation *explanation.Job `json:"explanation"`
		Unexplained string           `json:"unexplained"`
		Decisions   []Decided        `json:"decisions"`
	}
	var got answer
	f.json("/api/job?namespace=default&id=cart", &got)
	must.Eq(t, "cart", got.Job.ID)
	must.StrContains(t, got.Upgrade, "-namespace default cart")
	must.Eq(t, "tls-proxy", got.Explanation.Groups[0].Sidecars[0].Name)
	must.Len(t, 1, got.Decisions)
	must.Eq(t, "injected", got.Decisions[0].Decision.Decision)

	got = answer{}
	f.json("/api/job?namespace=default&id=gone", &got)
	must.Nil(t, got.Explanation)
	must.Eq(t, "the job no longer exists", got.Unexplained)

	for _, path := range []string{"/api/job", "/api/job?namespace=prod&id=cart"} {
		status, body := f.get(path)
		must.Eq(t, http.StatusNotFound, status)
		must.StrContains(t, body, `"error"`)
	}
}

func TestDecisionsAsJSON(t *testing.T) {
	f := start(t, nil, 0)
	f.page.Decisions.Add(decision("default", "web", "denied"))
	f.page.Decisions.Add(decision("default", hostile, "injected"))
	var got struct {
		Seen      int       `json:"seen"`
		Decisions []Decided `json:"decisions"`
	}
	f.json("/api/decisions", &got)
	must.Eq(t, 2, got.Seen)
	must.Eq(t, "2 1", numbers(got.Decisions))
	must.Eq(t, hostile, got.Decisions[0].Job)
	f.json("/api/decisions?decision=denied", &got)
	must.Eq(t, "1", numbers(got.Decisions))
	must.Eq(t, []string{"Not allowed by policy"}, got.Decisions[0].Reasons)
	status, _ := f.get("/api/decisions?decision=all")
	must.Eq(t, http.StatusBadRequest, status)
}

func TestTheStateChangesWithEverythingNew(t *testing.T) {
	f := start(t, shop(), time.Millisecond)
	f.page.now = func() time.Time { return f.fleet.Look().At.Add(90 * time.Second) }
	state := func() string {
		var got struct{ State, Age string }
		f.json("/api/state", &got)
		if got.Age != "" {
			must.Eq(t, "1 min ago", got.Age)
		}
		return got.State
	}
	first := state()
	f.eventually(func() bool { return state() != first })

	quiet := start(t, nil, 0)
	f.url = quiet.url
	before := state()
	must.Eq(t, before, state())
	quiet.page.Decisions.Add(decision("default", "web", "passed"))
	must.NotEq(t, before, state())
}

func TestWithoutATokenThePageSaysHowToGiveOne(t *testing.T) {
	f := start(t, nil, 0)
	for _, path := range []string{"/", "/upgrades", "/job?namespace=default&id=web"} {
		status, body := f.get(path)
		must.Eq(t, http.StatusOK, status)
		must.StrContains(t, body, "-fleet-token FILE")
		must.StrNotContains(t, body, `id="rows"`)
	}
	for _, path := range []string{"/api/fleet", "/api/upgrades", "/api/job?namespace=default&id=web"} {
		status, body := f.get(path)
		must.Eq(t, http.StatusNotFound, status)
		must.StrContains(t, body, "-fleet-token")
	}
}

// Any site may have its name lead to this machine: what it asks for by its name it does
// not get.
func TestAPageOnLoopbackIsForThisMachine(t *testing.T) {
	f := start(t, shop(), time.Hour).read()
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:4748": 200, "[::1]:4748": 200, "localhost:1": 200, "LOCALHOST": 200, "nomad.localhost:1": 200,
		"evil.example": 421, "evil.example:4748": 421, "10.0.0.5": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example:1": 421,
	} {
		for _, path := range []string{"/", "/api/fleet", "/assets/page.js"} {
			resp := f.answer(path, host)
			must.NoError(t, resp.Body.Close())
			must.Eq(t, want, resp.StatusCode, must.Sprint(host))
		}
	}
	f.page.Loopback = false
	resp := f.answer("/", "evil.example")
	must.NoError(t, resp.Body.Close())
	must.Eq(t, http.StatusOK, resp.StatusCode)
}

func TestHeadersKeepAPageToItself(t *testing.T) {
	f := start(t, nil, 0)
	for _, path := range []string{"/", "/api/state", "/assets/page.css", "/nothing"} {
		resp := f.answer(path, "")
		must.NoError(t, resp.Body.Close())
		policy := resp.Header.Get("Content-Security-Policy")
		must.StrHasPrefix(t, "default-src 'none'; ", policy)
		must.False(t, strings.Contains(policy, "unsafe") || strings.Contains(policy, "http"), must.Sprint(policy))
		must.Eq(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
		must.Eq(t, "no-store", resp.Header.Get("Cache-Control"))
	}
	resp := f.answer("/assets/", "")
	must.NoError(t, resp.Body.Close())
	must.Eq(t, http.StatusNotFound, resp.StatusCode)
}

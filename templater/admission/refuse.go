package admission

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

// Limits divide the proxy's resources among its clients. The zero value has no limits.
type Limits struct {
	// Proxies may identify their clients in X-Forwarded-For.
	Proxies limit.Proxies
	// Requests limits active requests, Buffers the bytes of their bodies.
	Requests, Buffers *limit.Shares
	// Upstream limits connections to Nomad.
	Upstream *limit.Slots
}

func (l Limits) complete() Limits {
	if l.Requests == nil {
		l.Requests = &limit.Shares{}
	}
	if l.Buffers == nil {
		l.Buffers = &limit.Shares{}
	}
	if l.Upstream == nil {
		l.Upstream = &limit.Slots{}
	}
	return l
}

const (
	// jobWait and requestWait limit the wait for a connection to Nomad.
	jobWait     = 30 * time.Second
	requestWait = 5 * time.Second
	// lateTime limits reading the rest of an unused body.
	lateTime   = time.Second
	retryAfter = "5" // seconds
)

// Resources that a request can be refused for.
const (
	requests = "requests"
	buffers  = "buffers"
	upstream = "upstream"
	jobs     = "jobs"
	slowBody = "slow_body"
)

// refusal is the error of a request that is not processed.
type refusal struct {
	what string
	err  error // limit.ErrClient, limit.ErrTotal, or a deadline
}

func (r *refusal) Error() string { return r.what + ": " + r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

func (r *refusal) scope() string {
	if errors.Is(r.err, limit.ErrTotal) {
		return "total"
	}
	return "client"
}

// status returns the response's status.
func (r *refusal) status() int {
	switch {
	case r.what == slowBody:
		return http.StatusRequestTimeout
	case errors.Is(r.err, limit.ErrTotal):
		return http.StatusServiceUnavailable
	}
	return http.StatusTooManyRequests
}

func (r *refusal) text() string {
	if r.what == slowBody {
		return "the request's body arrives too slowly; send at least 64 KiB per 30 s, and a job within a minute"
	}
	who, flag := "this client has", "-per-client"
	if r.scope() == "total" {
		who, flag = "all clients together have", ""
	}
	switch r.what {
	case jobs:
		return who + " too many jobs being processed; send fewer at a time"
	case requests:
		return who + " too many requests open; see -max-connections" + flag + " of nomad-sidecar serve"
	case buffers:
		return who + " too many bytes of request bodies in memory; see -max-buffer of nomad-sidecar serve"
	}
	return who + " too many requests at Nomad; blocking queries and streams count too; see -max-upstream" + flag + " of nomad-sidecar serve"
}

// refuse responds to a request that is not processed, and reads little more of it.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, to route, why *refusal) {
	p.Metrics.refused(why.what, why.scope())
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lateTime)) // not every ResponseWriter supports deadlines
		w.Header().Set("Connection", "close")
	}
	if why.what != slowBody {
		w.Header().Set("Retry-After", retryAfter)
	}
	if to == validate { // on another status the command validates locally
		answerDenial(w, to, (&verdict{}).deny(why.status(), "Busy", why.text()+"."))
		return
	}
	http.Error(w, "nomad-sidecar: "+why.text(), why.status())
}

// useOf returns the purpose of a request's connection to Nomad.
func useOf(to route, r *http.Request) limit.Use {
	if to != pass {
		return limit.Job
	}
	query := r.URL.Query()
	index := query.Get("index")
	if r.Header.Get("Upgrade") != "" || index != "" && index != "0" || streams(r.URL.Path, query) {
		return limit.Watch
	}
	return limit.Request
}

// streams reports whether Nomad responds for as long as the client listens
// (command/agent/fs_endpoint.go for files and logs).
func streams(path string, query url.Values) bool {
	var follows bool // by default
	switch {
	case path == "/v1/event/stream", strings.HasPrefix(path, "/v1/agent/monitor"):
		return true
	case strings.HasPrefix(path, "/v1/client/fs/stream/"):
		follows = true
	case !strings.HasPrefix(path, "/v1/client/fs/logs/"):
		return false
	}
	if given, err := strconv.ParseBool(query.Get("follow")); err == nil {
		return given
	}
	return follows
}

package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/client"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/limit"
)

// gate passes requests to the next handler or refuses them.
type gate struct {
	next    http.Handler
	finder  client.Finder
	limiter *limit.Limiter
	policy  string
	slots   chan struct{} // nil: unlimited open requests
	counts  *counts
	now     func() time.Time

	open sync.WaitGroup
}

func newGate(o options, limiter *limit.Limiter, c *counts, next http.Handler) *gate {
	g := &gate{
		next: next, finder: o.finder, limiter: limiter, counts: c, now: time.Now,
		policy: fmt.Sprintf(`"client";q=%d;w=%d`, o.client.Burst, seconds(o.client.Fill())),
	}
	if o.maxOpen > 0 {
		g.slots = make(chan struct{}, o.maxOpen)
	}
	return g
}

// ServeHTTP implements http.Handler. A request that is refused because too many are
// open consumes no token.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.open.Add(1)
	defer g.open.Done()
	g.counts.open.Inc()
	defer g.counts.open.Dec()
	if g.slots != nil {
		select {
		case g.slots <- struct{}{}:
			defer func() { <-g.slots }()
		default:
			g.counts.requests.WithLabelValues(refusedConcurrency).Inc()
			refuse(w, http.StatusServiceUnavailable, time.Second, "too many requests are open")
			return
		}
	}
	d := g.limiter.Take(g.finder.Key(r), g.now())
	g.counts.requests.WithLabelValues(resultOf(d)).Inc()
	headers := g.headers(d)
	switch d.Refused {
	case limit.Client:
		headers.set(w.Header())
		refuse(w, http.StatusTooManyRequests, d.RetryAfter, "too many requests")
		return
	case limit.Global:
		headers.set(w.Header())
		refuse(w, http.StatusTooManyRequests, d.RetryAfter, "too many requests of all clients")
		return
	}
	g.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), headersKey{}, headers)))
}

// headersKey is the context key of a response's rate limit headers.
type headersKey struct{}

// limitHeaders report the client's remaining quota
// (draft-ietf-httpapi-ratelimit-headers-10). The bucket shared by all clients is
// not disclosed.
type limitHeaders struct{ policy, limit string }

func (g *gate) headers(d limit.Decision) limitHeaders {
	return limitHeaders{g.policy, fmt.Sprintf(`"client";r=%d;t=%d`, d.Remaining, seconds(d.Reset))}
}

// set keeps rate limit headers that the application set itself.
func (l limitHeaders) set(h http.Header) {
	if l == (limitHeaders{}) || h.Get("RateLimit") != "" || h.Get("RateLimit-Policy") != "" {
		return
	}
	h.Set("RateLimit-Policy", l.policy)
	h.Set("RateLimit", l.limit)
}

func refuse(w http.ResponseWriter, status int, retryAfter time.Duration, why string) {
	after := max(1, seconds(retryAfter))
	w.Header().Set("Retry-After", strconv.FormatInt(after, 10))
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, fmt.Sprintf("rate-limit: %s; try again in %d s", why, after), status)
}

// seconds rounds up, so that a client that waits that long is not early.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

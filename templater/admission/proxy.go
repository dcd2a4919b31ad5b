package admission

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

const (
	badRequest = http.StatusBadRequest
	forbidden  = http.StatusForbidden
	tooLarge   = http.StatusRequestEntityTooLarge
)

// Options are what a Proxy is made of.
type Options struct {
	Upstream *Upstream
	Rules    *Rules
	// MaxBodyBytes is the most that a request with a job may hold.
	MaxBodyBytes int64
	// BodyTimeout is how long the client may take to send one.
	BodyTimeout time.Duration
	Audit       *slog.Logger
	Metrics     *Metrics
	// Accessors finds out who sent a request with a job; nil to leave it open.
	Accessors *Accessors
	// Tracer makes spans of requests with a job, which name their traces to Nomad; nil
	// for none, and for leaving to the client what it says of a trace.
	Tracer trace.Tracer
	// Decided learns what Audit does; nil for nobody. It is called for several
	// requests at once, and they wait for it.
	Decided func(Decision)
}

// Proxy is an http.Handler in front of a Nomad.
type Proxy struct {
	Options
	rules      atomic.Pointer[Rules]
	upstream   *url.URL
	transport  http.RoundTripper
	mux        *http.ServeMux
	forward    *httputil.ReverseProxy
	askTimeout time.Duration // of our own questions to Nomad
	// places are for jobs that are worked on. A job takes many times its length while it
	// is; more of them at once than there are processors are done no sooner.
	places chan struct{}
}

// New makes a proxy. It does not connect yet.
func New(o Options) *Proxy {
	p := &Proxy{Options: o, upstream: o.Upstream.URL, transport: o.Upstream.Transport, mux: http.NewServeMux(), askTimeout: 30 * time.Second, places: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
	p.rules.Store(o.Rules)
	p.forward = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p.transport, FlushInterval: -1, // streams go out as they come
		ModifyResponse: p.answer, ErrorHandler: p.unreachable,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // told by ErrorHandler
	}
	// The patterns are Nomad's own, so that what they match is what Nomad matches
	// (command/agent/http.go, registerHandlers).
	p.mux.HandleFunc("/v1/jobs", p.fixed(register))
	p.mux.HandleFunc("/v1/validate/job", p.fixed(validate))
	p.mux.HandleFunc("/v1/job/", func(w http.ResponseWriter, r *http.Request) {
		to, _ := jobRoute(r)
		p.serve(w, r, to)
	})
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, pass) })
	return p
}

// Use changes the rules for requests that come from now on.
func (p *Proxy) Use(rules *Rules) { p.rules.Store(rules) }

// InUse are the rules for requests that come now.
func (p *Proxy) InUse() *Rules { return p.rules.Load() }

// ServeHTTP passes a request on to Nomad, with the job that it should have.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func (p *Proxy) fixed(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if writes(r) {
			p.serve(w, r, to)
			return
		}
		p.serve(w, r, pass)
	}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, to route) {
	if to == pass {
		p.Metrics.count(pass, decisionPass)
		p.forward.ServeHTTP(w, r)
		return
	}
	r, span := p.open(r, to)
	defer span.End()
	begin := time.Now()
	v := p.decide(w, r, to)
	if v == nil {
		answered(span, badRequest, wrongOfServer)
		return // the client went away
	}
	p.audit(r, to, v, time.Since(begin))
	if v.denial != nil {
		answered(span, answerDenial(w, to, v), wrongOfServer)
		return
	}
	p.send(w, r, to, v)
}

// send sends a request on to Nomad, with the body that it shall have.
func (p *Proxy) send(w http.ResponseWriter, r *http.Request, to route, v *verdict) {
	ctx, span := p.Upstream.call(r.Context(), r.Method, to.template(r))
	defer func() { // even if the client goes away, at which the forwarder panics
		answered(span, v.answered, wrongOfClient)
		answered(trace.SpanFromContext(r.Context()), v.answered, wrongOfServer)
		span.End()
	}()
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(v.body)), int64(len(v.body))
	r.TransferEncoding = nil
	p.forward.ServeHTTP(w, r.WithContext(context.WithValue(ctx, admitted{}, v)))
}

// admitted is the key of the verdict in the context of a request that is sent on.
type admitted struct{}

// decide reads the body of a request and treats it.
func (p *Proxy) decide(w http.ResponseWriter, r *http.Request, to route) *verdict {
	body, err := p.read(w, r)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return (&verdict{}).deny(tooLarge, "Request too large", "It holds more than "+size(large.Limit)+". Make the job smaller, or raise -max-body of nomad-sidecar serve.")
	case err != nil:
		http.Error(w, "nomad-sidecar: the request did not arrive as a whole", badRequest)
		return nil
	}
	v := p.judge(r, body, to)
	if v != nil {
		v.before = digest(body)
	}
	return v
}

// judge treats the body of a request. It is nil if the client goes away.
func (p *Proxy) judge(r *http.Request, body []byte, to route) *verdict {
	rules := p.rules.Load()
	if to == revert {
		return p.treatRevert(rules, r, body)
	}
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
		return rules.treat(r.Context(), body, rules.placeOf(to, r))
	case <-r.Context().Done():
		return nil
	}
}

// read reads the body of a request, as long as it is neither too large nor too slow.
func (p *Proxy) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	_, span := step(r.Context(), "read")
	defer span.End()
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(p.BodyTimeout)) // not of every ResponseWriter
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, p.MaxBodyBytes))
	if err == nil { // else the server would wait without end for the rest, before it answers
		_ = deadline.SetReadDeadline(time.Time{})
	}
	span.SetAttributes(attribute.Int("nomad_sidecar.body_bytes", len(body)))
	return body, err
}

// rewrite directs a request to Nomad and leaves everything else of it as it is.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = p.upstream.Scheme, p.upstream.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Host = r.In.Host // WebSockets: Nomad wants Origin and Host to be equal
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	r.SetXForwarded()
	if r.In.Context().Value(admitted{}) != nil {
		r.Out.Header.Del("Accept-Encoding") // the answer may get warnings
		propagate(r.Out.Context(), r.Out.Header)
	}
}

// unreachable answers for a Nomad that does not.
func (p *Proxy) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client went away
	}
	if v, ok := r.Context().Value(admitted{}).(*verdict); ok {
		v.answered = http.StatusBadGateway
	}
	p.Metrics.unreachable()
	p.Audit.Error("Nomad does not answer", "path", r.URL.Path, "error", err.Error())
	http.Error(w, "nomad-sidecar: Nomad at "+p.upstream.Redacted()+" does not answer", http.StatusBadGateway)
}

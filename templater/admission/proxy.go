package admission

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

// blockTimeout is the default of Options.BlockTimeout.
const blockTimeout = 30 * time.Second

// CatalogHeader is set in all responses of a Proxy: the digest of its catalog.
const CatalogHeader = "X-Nomad-Sidecar-Catalog"

const (
	badRequest = http.StatusBadRequest
	forbidden  = http.StatusForbidden
	tooLarge   = http.StatusRequestEntityTooLarge
)

// Options configures a Proxy.
type Options struct {
	Upstream *Upstream
	Rules    *Rules
	// MaxBodyBytes limits the body of a request with a job.
	MaxBodyBytes int64
	// BodyTimeout limits the time to read the body of a request with a job, BlockTimeout the time
	// for each 64 KiB of any body; 0 means 30 s.
	BodyTimeout, BlockTimeout time.Duration
	Limits                    Limits
	Audit                     *slog.Logger
	Metrics                   *Metrics
	// Accessors looks up the accessors of requests with a job; nil disables the lookup.
	Accessors *Accessors
	// Tracer creates spans for requests with a job and propagates their traces to Nomad. If it is
	// nil, the client's trace headers are passed through.
	Tracer trace.Tracer
	// Decided, if set, receives the same decisions as Audit. It is called concurrently and blocks
	// the request.
	Decided func(Decision)
}

// Proxy is an http.Handler in front of Nomad.
type Proxy struct {
	Options
	rules      atomic.Pointer[Rules]
	digest     atomic.Pointer[string] // of the catalog
	upstream   *url.URL
	transport  http.RoundTripper
	mux        *http.ServeMux
	forward    *httputil.ReverseProxy
	askTimeout time.Duration // for the proxy's own requests to Nomad
	maxAnswer  int           // bytes of Nomad's answer to a parse request with sidecar blocks
	// jobSlots limits the jobs being processed, of which one client has half. A job needs many times
	// its size meanwhile, and more concurrent jobs than processors finish no sooner.
	jobSlots *limit.Slots
}

// New returns a proxy. It does not connect yet.
func New(o Options) *Proxy {
	p := &Proxy{
		Options: o, upstream: o.Upstream.URL, transport: o.Upstream.Transport, mux: http.NewServeMux(), askTimeout: 30 * time.Second, maxAnswer: bounds.JSONBytes,
		jobSlots: &limit.Slots{Total: 2 * runtime.GOMAXPROCS(0), PerClient: runtime.GOMAXPROCS(0)},
	}
	p.Use(o.Rules)
	p.Limits, p.BlockTimeout = o.Limits.complete(), cmp.Or(o.BlockTimeout, blockTimeout)
	p.forward = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: lasting{p.transport}, FlushInterval: -1, // flush streams immediately
		ModifyResponse: p.answer, ErrorHandler: p.unreachable,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // ErrorHandler reports errors
	}
	// The patterns are Nomad's own, so they match the same requests
	// (command/agent/http.go, registerHandlers).
	p.mux.HandleFunc("/v1/jobs", p.fixed(register))
	p.mux.HandleFunc("/v1/jobs/parse", p.fixed(parse))
	p.mux.HandleFunc("/v1/validate/job", p.fixed(validate))
	p.mux.HandleFunc("/v1/job/", func(w http.ResponseWriter, r *http.Request) {
		to, _ := jobRoute(r)
		p.serve(w, r, to)
	})
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, pass) })
	return p
}

// Use sets the rules for new requests.
func (p *Proxy) Use(rules *Rules) {
	digest := job.CatalogDigest(rules.Catalog)
	p.digest.Store(&digest)
	p.rules.Store(rules)
}

// InUse returns the rules for new requests.
func (p *Proxy) InUse() *Rules { return p.rules.Load() }

// ServeHTTP forwards a request to Nomad, after injecting into its job if it has one.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(CatalogHeader, *p.digest.Load())
	client := p.Limits.Proxies.Client(r)
	if err := p.Limits.Requests.Take(client, 1); err != nil {
		p.refuse(w, r, pass, &refusal{requests, err})
		return
	}
	defer p.Limits.Requests.Give(client, 1)
	p.mux.ServeHTTP(w, r)
}

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
	body := p.incoming(w, r)
	defer body.release()
	r, held := holding(r)
	defer held.release()
	if to == pass {
		p.Metrics.count(pass, decisionPass)
		p.pass(w, r, body)
		return
	}
	r, span := p.open(r, to)
	defer span.End()
	begin := time.Now()
	v, err := p.decide(r, body, to)
	if err != nil {
		answered(span, p.giveUp(w, r, to, err), wrongOfServer)
		return
	}
	took := time.Since(begin)
	v.client = p.Limits.Proxies.Client(r)
	v.audit = sync.OnceFunc(func() { p.audit(r, to, v, took) })
	if v.denial != nil {
		v.audit()
		answered(span, answerDenial(w, to, v), wrongOfServer)
		return
	}
	p.send(w, r, to, v)
}

// pass forwards a request without a job. It reads the body, or its first block, before it takes a
// connection to Nomad.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, body *incoming) {
	if r.Body != nil && r.Body != http.NoBody {
		if err := body.first(r); err != nil {
			p.giveUp(w, r, pass, err)
			return
		}
	}
	if err := p.slot(r, pass); err != nil {
		p.giveUp(w, r, pass, err)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// slot waits for a connection to Nomad, which the request's hold releases.
func (p *Proxy) slot(r *http.Request, to route) error {
	wait := requestWait
	if to != pass {
		wait = jobWait
	}
	free, err := p.Limits.Upstream.Acquire(r.Context(), p.Limits.Proxies.Client(r), useOf(to, r), wait)
	if err != nil && r.Context().Err() == nil {
		err = &refusal{upstream, err}
	}
	if err == nil {
		r.Context().Value(holdKey{}).(*hold).free = free
	}
	return err
}

// giveUp responds to a request that is not forwarded, and returns the status.
func (p *Proxy) giveUp(w http.ResponseWriter, r *http.Request, to route, err error) int {
	var why *refusal
	switch {
	case errors.As(err, &why):
		p.refuse(w, r, to, why)
		return why.status()
	case r.Context().Err() == nil:
		http.Error(w, "nomad-sidecar: the request's body is incomplete", badRequest)
	}
	return badRequest
}

// send forwards a request to Nomad with the verdict's body.
func (p *Proxy) send(w http.ResponseWriter, r *http.Request, to route, v *verdict) {
	ctx, span := p.Upstream.call(r.Context(), r.Method, to.template(r))
	defer func() { // also if the client disconnects, which makes the forwarder panic
		v.audit()
		answered(span, v.answered, wrongOfClient)
		answered(trace.SpanFromContext(r.Context()), v.answered, wrongOfServer)
		span.End()
	}()
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(v.body)), int64(len(v.body))
	r.TransferEncoding = nil
	p.forward.ServeHTTP(w, r.WithContext(context.WithValue(ctx, admitted{}, v)))
}

// admitted is the context key of a forwarded request's verdict.
type admitted struct{}

// decide reads and judges the body of a request and waits for a connection to Nomad.
func (p *Proxy) decide(r *http.Request, in *incoming, to route) (*verdict, error) {
	body, err := p.read(r, in)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return (&verdict{}).deny(tooLarge, "Request too large", "It holds more than "+size(large.Limit)+". Make the job smaller, or raise -max-body of nomad-sidecar serve."), nil
	}
	if err != nil {
		return nil, err
	}
	var v *verdict
	rules := p.rules.Load()
	asks := to == revert || to != parse && rules.asksWho() // Nomad, before the decision
	if !asks {
		if v, err = p.judge(r, rules, body, to); err != nil {
			return nil, err
		}
	}
	if err := p.slot(r, to); err != nil {
		return nil, err
	}
	if asks && rules.asksWho() {
		rules = rules.askedBy(p.requester(r, body))
	}
	if asks && to != revert {
		if v, err = p.judge(r, rules, body, to); err != nil {
			return nil, err
		}
	}
	if to == revert {
		if v = p.treatRevert(rules, r, body); rules.DryRun {
			would := v
			v = &verdict{body: body, job: would.job}
			v.rehearse(would)
		}
	}
	v.before = digest(body)
	return v, nil
}

// judge applies the rules to the body of a request.
func (p *Proxy) judge(r *http.Request, rules *Rules, body []byte, to route) (*verdict, error) {
	release, err := p.jobSlots.Acquire(r.Context(), p.Limits.Proxies.Client(r), limit.Job, jobWait)
	switch {
	case err == nil && to == parse:
		defer release()
		return rules.withoutBlocks(body), nil
	case err == nil:
		defer release()
		return rules.treat(r.Context(), body, rules.locationOf(to, r)), nil
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	default:
		return nil, &refusal{jobs, err}
	}
}

// read reads the body of a request, unless it is too large or too slow.
func (p *Proxy) read(r *http.Request, in *incoming) ([]byte, error) {
	_, span := startSpan(r.Context(), "read")
	defer span.End()
	in.until = time.Now().Add(p.BodyTimeout)
	body, err := in.all(p.MaxBodyBytes)
	span.SetAttributes(attribute.Int("nomad_sidecar.body_bytes", len(body)))
	return body, err
}

// rewrite directs a request to Nomad. Except for the wait of a blocking query, it leaves the rest of
// the request unchanged.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = p.upstream.Scheme, p.upstream.Host
	r.Out.URL.RawQuery = shortenWait(r.In.URL.RawQuery)
	r.Out.Host = r.In.Host // Nomad requires equal Origin and Host for WebSockets
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	r.SetXForwarded()
	r.Out.Header.Del("Expect") // the client has already received 100 Continue
	if r.In.Context().Value(admitted{}) != nil {
		r.Out.Header.Del("Accept-Encoding") // warnings may be added to the response
		propagate(r.Out.Context(), r.Out.Header)
	}
}

// unreachable responds to a request that Nomad did not answer.
func (p *Proxy) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	var why *refusal
	v, ok := r.Context().Value(admitted{}).(*verdict)
	if errors.As(err, &why) {
		if ok {
			v.answered = why.status()
			v.audit()
		}
		p.refuse(w, r, pass, why)
		return
	}
	if r.Context().Err() != nil {
		return // the client has gone
	}
	if ok {
		v.answered, v.unreachable = http.StatusBadGateway, true
		v.audit()
	}
	p.Metrics.unreachable()
	p.Audit.Error("Nomad does not answer", "path", Shorten(r.URL.Path, maxTextBytes), "error", Shorten(err.Error(), 2*maxTextBytes))
	http.Error(w, "nomad-sidecar: Nomad at "+p.upstream.Redacted()+" does not answer", http.StatusBadGateway)
}

package admission

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// The results of a request.
const (
	decisionPass     = "passed" // unchanged
	decisionInjected = "injected"
	decisionDenied   = "denied"
	decisionRefused  = "refused" // by Nomad
	// decisionUnanswered means that it is unknown whether Nomad carried out the request.
	decisionUnanswered = "unanswered"
)

func (v *verdict) decision() string {
	switch {
	case v.denial != nil:
		return decisionDenied
	case v.unreachable || v.answered == 0:
		return decisionUnanswered
	case v.answered >= http.StatusBadRequest:
		return decisionRefused
	case v.changed:
		return decisionInjected
	}
	return decisionPass
}

// Decision is the result of a request with a job. It contains neither headers nor body of the
// request, nor values of parameters.
type Decision struct {
	At        time.Time `json:"at"`
	Client    string    `json:"client"`             // host and port, or the address that a trusted proxy names
	Accessor  string    `json:"accessor,omitempty"` // of the token in the request's header
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Route     string    `json:"route"`    // register, plan, validate, revert or parse
	Decision  string    `json:"decision"` // passed, injected, denied, refused or unanswered
	Job       string    `json:"job"`      // its ID; "" if it could not be read
	Namespace string    `json:"namespace"`
	Region    string    `json:"region"`
	// Sidecars are the chosen sidecars, Rules the policy rules that choose a sidecar, set a default or
	// deny the job.
	Sidecars []Injected `json:"sidecars"`
	Rules    []string   `json:"rules"`
	// Defaults are the defaults of the policy that are set, such as "web/app kill_timeout".
	Defaults []string `json:"defaults,omitempty"`
	// Warned are the rules that only warn about the job: those with level = "warn", and in a dry run
	// all that would change or deny it.
	Warned   []string `json:"warned,omitempty"`
	Warnings int      `json:"warnings"` // number of warnings
	// Before and After are digests, "sha256:" and hex, of the received body, unless it was too
	// large, and of the body sent to Nomad, empty for a denial.
	Before string        `json:"before,omitempty"`
	After  string        `json:"after,omitempty"`
	Took   time.Duration `json:"took"` // nanoseconds
	// Status is the response's status: Nomad's, except for a denial or if Nomad does not answer; 0
	// if the client left before.
	Status int `json:"status,omitempty"`
	// Reasons are summaries of a denial that quote nothing of the job.
	Reasons []string `json:"reasons,omitempty"`
	// Trace is the ID of the request's trace, if it is recorded.
	Trace string `json:"trace,omitempty"`
}

// Denied reports whether the request was denied.
func (d *Decision) Denied() bool { return d.Decision == decisionDenied }

// sender returns the client of a request for the log and the page.
func (p *Proxy) sender(r *http.Request) string {
	if addr, named := p.Limits.Proxies.Sender(r); named {
		return addr.Unmap().WithZone("").String()
	}
	return r.RemoteAddr
}

// audit writes one line about a request with a job.
func (p *Proxy) audit(r *http.Request, to route, v *verdict, took time.Duration) {
	p.Metrics.count(to, v.decision())
	p.Metrics.warned(to, v.warned)
	p.Metrics.took.WithLabelValues(string(to)).Observe(took.Seconds())
	if v.quiet {
		return
	}
	d := Decision{
		At: time.Now(), Client: p.sender(r), Method: r.Method, Path: r.URL.Path, Route: string(to), Decision: v.decision(),
		Job: v.job.ID.Value, Namespace: v.job.Namespace.Value, Region: v.job.Region.Value,
		Sidecars: v.injected, Defaults: v.defaults, Rules: v.rules, Warned: v.warned, Warnings: len(v.warnings), Before: v.before, Took: took, Status: v.answered,
	}
	if p.Accessors != nil {
		d.Accessor = p.Accessors.of(r, p.Upstream)
	}
	if v.denial != nil {
		d.Status, d.Reasons = v.denial.status, v.denial.summaries
	} else {
		d.After = digest(v.body)
	}
	span := trace.SpanFromContext(r.Context())
	if span.SpanContext().IsSampled() {
		d.Trace = span.SpanContext().TraceID().String()
	}
	d = d.Shortened(maxTextBytes, maxItems)
	d.describe(span)
	p.Audit.LogAttrs(r.Context(), slog.LevelInfo, "job", d.attrs()...)
	if p.Decided != nil {
		p.Decided(d)
	}
}

func digest(body []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(body)) }

// attrs returns the decision's log attributes without the time, which the log adds.
func (d *Decision) attrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("client", d.Client), slog.String("accessor", d.Accessor), slog.String("method", d.Method), slog.String("path", d.Path),
		slog.String("route", d.Route), slog.String("decision", d.Decision),
		slog.String("job", d.Job), slog.String("namespace", d.Namespace), slog.String("region", d.Region),
		slog.Any("sidecars", d.Sidecars), slog.Any("rules", d.Rules),
		slog.Int("warnings", d.Warnings), slog.String("before", d.Before), slog.String("after", d.After), slog.Duration("took", d.Took),
		slog.Int("status", d.Status),
	}
	if d.Denied() {
		attrs = append(attrs, slog.Any("reasons", d.Reasons))
	}
	if len(d.Defaults) > 0 {
		attrs = append(attrs, slog.Any("defaults", d.Defaults))
	}
	if len(d.Warned) > 0 {
		attrs = append(attrs, slog.Any("warned", d.Warned))
	}
	if d.Trace != "" {
		attrs = append(attrs, slog.String("trace", d.Trace))
	}
	return attrs
}

// Metrics are a proxy's Prometheus metrics.
type Metrics struct {
	requests *prometheus.CounterVec
	warnings *prometheus.CounterVec // by route and rule
	took     *prometheus.HistogramVec
	errors   prometheus.Counter
	refusals *prometheus.CounterVec // by reason and scope
	reloads  *prometheus.CounterVec // by result, "ok" or "error"
	reloaded prometheus.Gauge
}

// NewMetrics registers the metrics.
func NewMetrics(to prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nomad_sidecar_requests_total", Help: "Requests by route and decision: passed, injected, denied, refused by Nomad or unanswered."}, []string{"route", "decision"}),
		warnings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nomad_sidecar_rule_warnings_total", Help: "Requests that a rule of the policy warned about, by route and rule. In a dry run also those that it would change or deny."}, []string{"route", "rule"}),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nomad_sidecar_decision_seconds", Help: "Time to read a job and decide about it."}, []string{"route"}),
		errors:   prometheus.NewCounter(prometheus.CounterOpts{Name: "nomad_sidecar_upstream_errors_total", Help: "Requests that Nomad did not answer."}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nomad_sidecar_refused_total", Help: "Connections and requests that are refused, by the limit, and whether it is that of one client or of all."}, []string{"limit", "scope"}),
		reloads:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nomad_sidecar_reloads_total", Help: "Reloads of policy and catalog by result, ok or error."}, []string{"result"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "nomad_sidecar_last_reload_successful", Help: "Whether policy and catalog are those that were last to be read: 1, or 0 if these have errors."}),
	}
	m.reloaded.Set(1)
	to.MustRegister(m.requests, m.warnings, m.took, m.errors, m.refusals, m.reloads, m.reloaded)
	return m
}

// Reloaded counts a reload.
func (m *Metrics) Reloaded(ok bool) {
	result, value := "error", 0.0
	if ok {
		result, value = "ok", 1
	}
	m.reloads.WithLabelValues(result).Inc()
	m.reloaded.Set(value)
}

func (m *Metrics) count(to route, decision string) {
	m.requests.WithLabelValues(string(to), decision).Inc()
}

// warned counts the rules that warn about a request. Their names come from the policy.
func (m *Metrics) warned(to route, rules []string) {
	for _, rule := range rules {
		m.warnings.WithLabelValues(string(to), rule).Inc()
	}
}

// RefusedConnection counts a refused connection.
func (m *Metrics) RefusedConnection(why error) {
	m.refused("connections", (&refusal{err: why}).scope())
}

func (m *Metrics) refused(what, scope string) { m.refusals.WithLabelValues(what, scope).Inc() }

func (m *Metrics) unreachable() { m.errors.Inc() }

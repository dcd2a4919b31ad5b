package admission

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What became of a request.
const (
	decisionPass     = "passed" // unchanged
	decisionInjected = "injected"
	decisionDenied   = "denied"
)

func (v *verdict) decision() string {
	switch {
	case v.denial != nil:
		return decisionDenied
	case v.changed:
		return decisionInjected
	}
	return decisionPass
}

// audit writes one line about a request with a job: who, what, and what became of it.
// Neither header nor body nor values of parameters are in it.
func (p *Proxy) audit(r *http.Request, to route, v *verdict, took time.Duration) {
	p.Metrics.count(to, v.decision())
	p.Metrics.took.WithLabelValues(string(to)).Observe(took.Seconds())
	attrs := []slog.Attr{
		slog.String("client", r.RemoteAddr), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.String("route", string(to)), slog.String("decision", v.decision()),
		slog.String("job", v.job.ID), slog.String("namespace", v.job.Namespace), slog.String("region", v.job.Region),
		slog.Any("sidecars", v.injected), slog.Any("rules", v.rules),
		slog.Int("warnings", len(v.warnings)), slog.Duration("took", took),
	}
	if v.denial != nil {
		attrs = append(attrs, slog.Int("status", v.denial.status), slog.Any("reasons", v.denial.summaries))
	}
	p.Audit.LogAttrs(r.Context(), slog.LevelInfo, "job", attrs...)
}

// Metrics are a proxy's, for Prometheus.
type Metrics struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	errors   prometheus.Counter
	Reloads  *prometheus.CounterVec // by result, "ok" or "error"
}

// NewMetrics registers the metrics.
func NewMetrics(to prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nomad_sidecar_requests_total", Help: "Requests by route and by what became of them: passed, injected or denied."}, []string{"route", "decision"}),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nomad_sidecar_decision_seconds", Help: "Time to read a job and decide about it."}, []string{"route"}),
		errors:   prometheus.NewCounter(prometheus.CounterOpts{Name: "nomad_sidecar_upstream_errors_total", Help: "Requests that Nomad did not answer."}),
		Reloads:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nomad_sidecar_reloads_total", Help: "Reloads of policy and catalog by result, ok or error."}, []string{"result"}),
	}
	to.MustRegister(m.requests, m.took, m.errors, m.Reloads)
	return m
}

func (m *Metrics) count(to route, decision string) {
	m.requests.WithLabelValues(string(to), decision).Inc()
}

func (m *Metrics) unreachable() { m.errors.Inc() }

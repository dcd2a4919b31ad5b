package admission

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
)

// Statuses of an answer from which on it is an error, to who answered and to who asked.
const (
	wrongOfServer = 500
	wrongOfClient = 400
)

// mostListed is the most texts in one attribute; the log has all of them.
const mostListed = 64

// SpanScope names the spans' origin to who collects them.
const SpanScope = "github.com/nomad-sidecar/nomad-sidecar/templater/admission"

// open begins the span of a request with a job. It belongs to the client's trace, if the
// request names one. The path, which holds the ID of a job, is not in it, nor is the
// query, in which anything may stand.
func (p *Proxy) open(r *http.Request, to route) (*http.Request, trace.Span) {
	if p.Tracer == nil { // what the client says of its trace goes on as it is
		return r, trace.SpanFromContext(r.Context())
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := p.Tracer.Start(ctx, r.Method+" "+to.template(r), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(r.Method), semconv.HTTPRoute(to.template(r)), attribute.String("nomad_sidecar.route", string(to)),
	))
	return r.WithContext(ctx), span
}

// template is the path of a route with a name for what differs from job to job.
func (to route) template(r *http.Request) string {
	switch {
	case to == validate:
		return "/v1/validate/job"
	case to == plan || to == revert:
		return "/v1/job/{job_id}/" + string(to)
	case r.URL.Path == "/v1/jobs":
		return "/v1/jobs"
	}
	return "/v1/job/{job_id}"
}

// step begins a span below the one of the context, if there is one.
func step(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(SpanScope).Start(ctx, name, options...)
}

// call begins the span of a request to Nomad.
func (u *Upstream) call(ctx context.Context, method, template string) (context.Context, trace.Span) {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method), semconv.URLTemplate(template), semconv.ServerAddress(u.URL.Hostname()),
	}
	if port, err := strconv.Atoi(portOf(u.URL)); err == nil {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return step(ctx, "nomad "+method+" "+template, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// propagate names the trace to Nomad, where there is one. What a client said of a trace
// that could not be read must not go with it.
func propagate(ctx context.Context, header http.Header) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		header.Del("Tracestate")
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

// answered notes the status of an answer, 0 for none, and whether it is an error.
func answered(span trace.Span, status, wrongFrom int) {
	if status == 0 {
		span.SetStatus(codes.Error, "no answer")
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= wrongFrom {
		span.SetStatus(codes.Error, "")
	}
}

// describe tells in a span what the log tells of a decision.
func (d *Decision) describe(span trace.Span) {
	if !span.IsRecording() {
		return
	}
	sidecars := make([]string, 0, min(len(d.Sidecars), mostListed))
	for _, s := range d.Sidecars[:cap(sidecars)] {
		sidecars = append(sidecars, s.Group+"/"+s.Sidecar+"@"+s.Version)
	}
	span.SetAttributes(
		text("nomad_sidecar.decision", d.Decision), text("nomad.job", d.Job), text("nomad.namespace", d.Namespace), text("nomad.region", d.Region),
		texts("nomad_sidecar.sidecars", sidecars), texts("nomad_sidecar.rules", d.Rules), attribute.Int("nomad_sidecar.warnings", d.Warnings),
	)
	if d.Denied() {
		span.SetAttributes(texts("nomad_sidecar.reasons", d.Reasons))
	}
}

// text is an attribute of text from a request. One that is not UTF-8 would be the end of
// all spans that go with it.
func text(key, value string) attribute.KeyValue {
	return attribute.String(key, strings.ToValidUTF8(value, "\ufffd"))
}

func texts(key string, values []string) attribute.KeyValue {
	out := make([]string, 0, min(len(values), mostListed))
	for _, v := range values[:cap(out)] {
		out = append(out, strings.ToValidUTF8(v, "\ufffd"))
	}
	return attribute.StringSlice(key, out)
}

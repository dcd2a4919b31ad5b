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

// Response statuses that count as errors, for the server and for the client.
const (
	wrongOfServer = 500
	wrongOfClient = 400
)

// maxListed limits the texts in one attribute; the log has all of them.
const maxListed = 64

// SpanScope is the instrumentation scope of the spans.
const SpanScope = "github.com/nomad-sidecar/nomad-sidecar/templater/admission"

// open starts the span of a request with a job, in the client's trace if the request names one. The
// span contains neither the path, which includes the job's ID, nor the query, which may contain
// anything.
func (p *Proxy) open(r *http.Request, to route) (*http.Request, trace.Span) {
	if p.Tracer == nil { // the client's trace headers are passed through
		return r, trace.SpanFromContext(r.Context())
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := p.Tracer.Start(ctx, r.Method+" "+to.template(r), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(r.Method), semconv.HTTPRoute(to.template(r)), attribute.String("nomad_sidecar.route", string(to)),
	))
	return r.WithContext(ctx), span
}

// template returns the path of a route with a placeholder for the job's ID.
func (to route) template(r *http.Request) string {
	switch {
	case to == validate:
		return "/v1/validate/job"
	case to == parse:
		return "/v1/jobs/parse"
	case to == plan || to == revert:
		return "/v1/job/{job_id}/" + string(to)
	case r.URL.Path == "/v1/jobs":
		return "/v1/jobs"
	}
	return "/v1/job/{job_id}"
}

// startSpan starts a child of the context's span, if there is one.
func startSpan(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(SpanScope).Start(ctx, name, options...)
}

// call starts the span of a request to Nomad.
func (u *Upstream) call(ctx context.Context, method, template string) (context.Context, trace.Span) {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method), semconv.URLTemplate(template), semconv.ServerAddress(u.URL.Hostname()),
	}
	if port, err := strconv.Atoi(portOf(u.URL)); err == nil {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return startSpan(ctx, "nomad "+method+" "+template, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// propagate replaces the client's trace headers with headers of the current trace, if there is one.
// The client's tracestate may be invalid and is dropped.
func propagate(ctx context.Context, header http.Header) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		header.Del("Tracestate")
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

// answered records the status of a response, 0 for none, and whether it is an error.
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

// describe adds the attributes of a decision to a span, as in the log.
func (d *Decision) describe(span trace.Span) {
	if !span.IsRecording() {
		return
	}
	sidecars := make([]string, 0, min(len(d.Sidecars), maxListed))
	for _, s := range d.Sidecars[:cap(sidecars)] {
		sidecars = append(sidecars, s.Group+"/"+s.Sidecar+"@"+s.Version)
	}
	span.SetAttributes(
		text("nomad_sidecar.decision", d.Decision), text("nomad.job", d.Job), text("nomad.namespace", d.Namespace), text("nomad.region", d.Region),
		texts("nomad_sidecar.sidecars", sidecars), texts("nomad_sidecar.rules", d.Rules), attribute.Int("nomad_sidecar.warnings", d.Warnings),
	)
	if len(d.Defaults) > 0 {
		span.SetAttributes(texts("nomad_sidecar.defaults", d.Defaults))
	}
	if len(d.Warned) > 0 {
		span.SetAttributes(texts("nomad_sidecar.warned", d.Warned))
	}
	if d.Denied() {
		span.SetAttributes(texts("nomad_sidecar.reasons", d.Reasons))
	}
}

// text returns an attribute with text from a request. Invalid UTF-8 would make the exporter lose the
// whole batch of spans.
func text(key, value string) attribute.KeyValue {
	return attribute.String(key, strings.ToValidUTF8(value, "\ufffd"))
}

func texts(key string, values []string) attribute.KeyValue {
	out := make([]string, 0, min(len(values), maxListed))
	for _, v := range values[:cap(out)] {
		out = append(out, strings.ToValidUTF8(v, "\ufffd"))
	}
	return attribute.StringSlice(key, out)
}

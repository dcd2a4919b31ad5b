package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/otelcollector"
)

// environ sets these OpenTelemetry variables and no others.
func environ(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func opened(t *testing.T) (*Tracing, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	tr, err := Open(t.Context(), "thing", "1.2.3", slog.New(slog.NewJSONHandler(log, nil)))
	must.NoError(t, err)
	return tr, log
}

func TestOpen_NoEndpoint(t *testing.T) {
	for _, pairs := range [][]string{
		{},
		{"OTEL_SERVICE_NAME", "x", "OTEL_TRACES_EXPORTER", "otlp"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1", "OTEL_SDK_DISABLED", "TRUE"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense", "OTEL_TRACES_EXPORTER", "none"},
		{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1"},
	} {
		environ(t, pairs...)
		tr, _ := opened(t)
		must.Nil(t, tr)
		must.Nil(t, tr.Tracer("x"))
		tr.Close(t.Context())
	}
}

func TestOpen_Environment(t *testing.T) {
	c := otelcollector.Start(t)
	environ(t, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "OTEL_EXPORTER_OTLP_HEADERS", "api-key=k%20y", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip",
		"OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=test", "OTEL_SERVICE_NAME", "proxy")
	tr, log := opened(t)
	_, span := tr.Tracer("scope").Start(t.Context(), "one", trace.WithAttributes(attribute.String("long", strings.Repeat("x", 5000))))
	span.End()
	tr.Close(t.Context())
	spans := c.Spans()
	must.Len(t, 1, spans, must.Sprint(log))
	must.Eq(t, "proxy test 1.2.3", spans[0].Resource["service.name"]+" "+spans[0].Resource["deployment.environment.name"]+" "+spans[0].Resource["service.version"])
	must.Eq(t, 1024, len(spans[0].Attributes()["long"]))
	must.Eq(t, "k y", c.Headers()[0].Get("Api-Key"))
	must.Eq(t, "", log.String())
}

func TestOpen_ServiceAndSampler(t *testing.T) {
	c := otelcollector.Start(t)
	environ(t, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.URL+"/v1/traces", "OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tr, _ := opened(t)
	_, span := tr.Tracer("scope").Start(t.Context(), "dropped")
	span.End()
	sampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true})
	_, span = tr.Tracer("scope").Start(trace.ContextWithRemoteSpanContext(t.Context(), sampled), "kept")
	span.End()
	tr.Close(t.Context())
	spans := c.Spans()
	must.Len(t, 1, spans)
	must.Eq(t, "thing kept", spans[0].Resource["service.name"]+" "+spans[0].Name)
}

type grpcCollector struct {
	coltrace.UnimplementedTraceServiceServer
	names chan string
}

func (c *grpcCollector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.names <- r.ResourceSpans[0].ScopeSpans[0].Spans[0].Name
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func TestOpen_GRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	c := &grpcCollector{names: make(chan string, 1)}
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, c)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	environ(t, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	tr, log := opened(t)
	_, span := tr.Tracer("scope").Start(t.Context(), "one")
	span.End()
	tr.Close(t.Context())
	must.Eq(t, 1, len(c.names), must.Sprint(log))
	must.Eq(t, "one", <-c.names)
	server.Stop()
	must.NoError(t, <-ended)
}

// Invalid values are reported at startup, and possible keys are not quoted.
func TestOpen_InvalidEnvironment(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.pem")
	for _, c := range []struct{ name, value, says string }{
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", `OTEL_EXPORTER_OTLP_PROTOCOL is "http/json"`},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "carrier", `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "carrier"`},
		{"OTEL_TRACES_EXPORTER", "zipkin", `OTEL_TRACES_EXPORTER is "zipkin"`},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "s3cret:4318", "OTEL_EXPORTER_OTLP_ENDPOINT must be an http:// or https:// URL"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:s3cret@%zz", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=b,s3cret", "OTEL_EXPORTER_OTLP_HEADERS must be name=value pairs separated by commas; part 2 is not one"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=s3cret%zz", "part 1 is not one"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", missing, "OTEL_EXPORTER_OTLP_CERTIFICATE: open " + missing},
		{"OTEL_RESOURCE_ATTRIBUTES", "no-value", "OTEL_RESOURCE_ATTRIBUTES: "},
	} {
		environ(t, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv(c.name, c.value)
		tr, err := Open(t.Context(), "thing", "1", slog.New(slog.DiscardHandler))
		must.ErrorContains(t, err, c.says)
		must.StrNotContains(t, err.Error(), "s3cret")
		must.Nil(t, tr)
	}
}

// A collector that rejects spans is reported once, with the number of lost spans.
func TestExporter_LogsFailuresOnce(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("no ", 1000), http.StatusUnauthorized)
	}))
	defer refuses.Close()
	environ(t, "OTEL_EXPORTER_OTLP_ENDPOINT", refuses.URL, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
	tr, log := opened(t)
	for range 10 {
		_, span := tr.Tracer("scope").Start(t.Context(), "lost")
		span.End()
	}
	tr.Close(t.Context())
	must.Eq(t, 1, strings.Count(log.String(), "cannot send spans"), must.Sprint(log))
	must.StrContains(t, log.String(), "401")
	must.Less(t, 1000, log.Len())
}

func TestComplaints_Sum(t *testing.T) {
	now, log := time.Now(), &bytes.Buffer{}
	c := &complaints{log: slog.New(slog.NewTextHandler(log, nil)), every: time.Minute, now: func() time.Time { return now }}
	for range 3 {
		c.about(errors.New("down"), 5)
	}
	must.StrContains(t, log.String(), "lost=5")
	log.Reset()
	now = now.Add(time.Minute)
	c.about(errors.New("down"), 5)
	must.StrContains(t, log.String(), "lost=15")
	must.Eq(t, 1, strings.Count(log.String(), "\n"))
}

func TestClose_LogsUnsentSpans(t *testing.T) {
	hangs := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer silent.Close()
	defer close(hangs)
	environ(t, "OTEL_EXPORTER_OTLP_ENDPOINT", silent.URL)
	tr, log := opened(t)
	_, span := tr.Tracer("scope").Start(t.Context(), "lost")
	span.End()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	tr.Close(over)
	must.StrContains(t, log.String(), "the last spans were not sent")
}

package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
)

const (
	complainEvery = time.Minute
	// maxAttributeText limits the bytes of a text in a span if the environment sets no other
	// limit: a job's submitter chooses the names in it.
	maxAttributeText = 1024
)

// Tracing exports spans to a collector. A nil Tracing exports none.
type Tracing struct {
	provider *sdk.TracerProvider
	log      *slog.Logger
}

// Open prepares the export of spans if the environment names a collector; otherwise it returns nil
// and starts nothing. It does not connect: the collector may start later. Until then spans are
// dropped, with one log line a minute. service and version identify the spans' source unless the
// environment overrides them.
func Open(ctx context.Context, service, version string, log *slog.Logger) (*Tracing, error) {
	set, err := readSettings()
	if err != nil || set.off {
		return nil, err
	}
	// The SDK's own log lines quote rejected values, including headers with keys.
	otel.SetLogger(logr.Discard())
	says := &complaints{log: log, every: complainEvery, now: time.Now}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { says.about(err, 0) }))
	from, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	out, err := open(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("export spans: %w", err)
	}
	limits := sdk.NewSpanLimits() // from the environment
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxAttributeText
	}
	provider := sdk.NewTracerProvider(sdk.WithResource(from), sdk.WithRawSpanLimits(limits), sdk.WithBatcher(&exporter{out, says}))
	return &Tracing{provider, log}, nil
}

func open(ctx context.Context, set settings) (sdk.SpanExporter, error) {
	if set.grpc {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

// Tracer returns a tracer for exported spans, or nil if none are exported.
func (t *Tracing) Tracer(name string) trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(name)
}

// Close sends the remaining spans until ctx ends.
func (t *Tracing) Close(ctx context.Context) {
	if t == nil {
		return
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans were not sent", "error", cut(err.Error()))
	}
}

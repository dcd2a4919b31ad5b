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
	// mostAttributeText is the most bytes of a text in a span, where the environment
	// says nothing else: names of jobs are up to who submits them.
	mostAttributeText = 1024
)

// Tracing is a way for spans to a collector. That it is nil means that there is none.
type Tracing struct {
	provider *sdk.TracerProvider
	log      *slog.Logger
}

// Open prepares to send spans, if the environment names a collector for them; otherwise
// it is nil, and nothing runs. It does not connect: a collector may come later, and while
// there is none spans are thrown away, with a line in the log once a minute. Service and
// version are what the spans say they are from, unless the environment says something else.
func Open(ctx context.Context, service, version string, log *slog.Logger) (*Tracing, error) {
	set, err := readSettings()
	if err != nil || set.off {
		return nil, err
	}
	// The SDK's own lines quote what they complain about, headers with keys too.
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
	limits := sdk.NewSpanLimits() // of the environment
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = mostAttributeText
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

// Tracer makes spans that are sent; nil where none are.
func (t *Tracing) Tracer(name string) trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(name)
}

// Close sends what is left, for as long as the context lasts.
func (t *Tracing) Close(ctx context.Context) {
	if t == nil {
		return
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans were not sent", "error", cut(err.Error()))
	}
}

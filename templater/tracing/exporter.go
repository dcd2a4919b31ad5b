package tracing

import (
	"context"
	"log/slog"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

const maxErrorText = 300 // an error includes the collector's response

// exporter logs spans that could not be sent, and drops them.
type exporter struct {
	sdk.SpanExporter
	says *complaints
}

// ExportSpans never returns an error, because the SDK would log each one.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.says.about(err, len(spans))
	}
	return nil
}

// complaints is a log that repeats a message at most once per interval.
type complaints struct {
	log   *slog.Logger
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex
	last time.Time
	lost int // spans lost since the last message
}

func (c *complaints) about(err error, lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += lost
	if now := c.now(); c.last.IsZero() || now.Sub(c.last) >= c.every {
		c.log.Warn("cannot send spans", "error", cut(err.Error()), "lost", c.lost)
		c.last, c.lost = now, 0
	}
}

func cut(text string) string { return text[:min(len(text), maxErrorText)] }

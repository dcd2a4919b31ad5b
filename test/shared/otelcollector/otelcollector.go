// Package otelcollector is an OpenTelemetry collector for tests. It receives spans by OTLP over HTTP on a
// loopback address and stores them.
//
// It supports protobuf only, and neither metrics nor logs.
package otelcollector

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	v1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Collector listens until its test ends.
type Collector struct {
	URL string // for OTEL_EXPORTER_OTLP_ENDPOINT

	mu       sync.Mutex
	requests []*v1.ExportTraceServiceRequest
	headers  []http.Header
}

// Start starts a collector.
func Start(t *testing.T) *Collector {
	t.Helper()
	c := &Collector{}
	server := httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	request, err := read(r)
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/v1/traces":
		http.Error(w, "spans are posted to /v1/traces", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests, c.headers = append(c.requests, request), append(c.headers, r.Header)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

func read(r *http.Request) (*v1.ExportTraceServiceRequest, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	request := &v1.ExportTraceServiceRequest{}
	return request, proto.Unmarshal(raw, request)
}

// Span is a received span and its origin.
type Span struct {
	*spans.Span
	Resource map[string]string
}

// Attributes returns the span's attributes as text.
func (s *Span) Attributes() map[string]string { return texts(s.Span.Attributes) }

func texts(attributes []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attributes {
		out[a.Key] = text(a.Value)
	}
	return out
}

func text(v *common.AnyValue) string {
	if _, ok := v.Value.(*common.AnyValue_StringValue); ok {
		return v.GetStringValue()
	}
	return prototext.MarshalOptions{}.Format(v)
}

// Spans returns the spans received so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Span
	for _, r := range c.requests {
		for _, of := range r.ResourceSpans {
			for _, scope := range of.ScopeSpans {
				for _, s := range scope.Spans {
					out = append(out, Span{s, texts(of.Resource.Attributes)})
				}
			}
		}
	}
	return out
}

// Headers returns the headers of the requests.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]http.Header(nil), c.headers...)
}

// Text returns all received data, to check that it contains no secrets.
func (c *Collector) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := ""
	for _, r := range c.requests {
		out += prototext.Format(r)
	}
	return out
}

package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/otelcollector"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const (
	clientTrace       = "0af7651916cd43dd8448eb211c80319c"
	clientTraceparent = "00-" + clientTrace + "-b7ad6b7169203331-01"
)

// tracedTo configures a collector and no other OpenTelemetry variables.
func tracedTo(t *testing.T, url string, pairs ...string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

// listeningNomad records the headers of registrations.
func listeningNomad(t *testing.T) (url string, headers func() []http.Header) {
	var mu sync.Mutex
	var all []http.Header
	n := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			mu.Lock()
			all = append(all, r.Header.Clone())
			mu.Unlock()
		}
		_, _ = io.WriteString(w, `{"AccessorID":"acc3ss0r"}`) // a missing response fails the test
	}))
	t.Cleanup(n.Close)
	return n.URL, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// register sends a job that contains several secrets.
func (s *serving) register(query string) {
	s.t.Helper()
	body := strings.Replace(servedJob, `{"Job":{`, `{"SecretID":"s3cret-in-body","Job":{"Meta":{"sidecar.note.key":"s3cret-in-meta","other":"s3cret-in-job"},`, 1)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, "http://"+s.address+"/v1/jobs"+query, strings.NewReader(body))
	must.NoError(s.t, err)
	for name, value := range map[string]string{"X-Nomad-Token": "s3cret-token", "Authorization": "Bearer s3cret-bearer", "Cookie": "s3cret-cookie", "User-Agent": "s3cret-agent", "traceparent": clientTraceparent} {
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	must.NoError(s.t, err)
	must.NoError(s.t, resp.Body.Close())
	must.Eq(s.t, http.StatusOK, resp.StatusCode)
}

// The collector receives a trace for each request with a job, the last spans at shutdown, and no
// secrets.
func TestTracing_JobRequests(t *testing.T) {
	c := otelcollector.Start(t)
	tracedTo(t, c.URL, "OTEL_SERVICE_NAME", "the-proxy", "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test", "OTEL_BSP_SCHEDULE_DELAY", "3600000")
	nomad, headers := listeningNomad(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "note.sidecar.hcl"), pagedDefinition)
	writeFile(t, filepath.Join(dir, "notes.policy.hcl"), strings.ReplaceAll(pagedPolicy, "k3y-of-note", "s3cret-in-policy"))
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-policy", dir, "-catalog", dir, "-nomad-addr", nomad)
	s.register("?idempotency_token=s3cret-in-query")
	line := s.next("job")
	must.Eq(t, "injected", line["decision"].(string))
	must.Eq(t, clientTrace, line["trace"].(string))
	s.end()

	spans := map[string]otelcollector.Span{}
	for _, span := range c.Spans() {
		must.Eq(t, clientTrace, fmt.Sprintf("%x", span.TraceId))
		must.Eq(t, "the-proxy test", span.Resource["service.name"]+" "+span.Resource["deployment.environment.name"])
		spans[span.Name] = span
	}
	must.MapContainsKeys(t, spans, []string{"PUT /v1/jobs", "read", "choose", "plan", "nomad GET /v1/acl/token/self", "nomad PUT /v1/jobs"})
	must.MapLen(t, 6, spans)
	server := spans["PUT /v1/jobs"]
	must.Eq(t, "b7ad6b7169203331", fmt.Sprintf("%x", server.ParentSpanId))
	must.Eq(t, "injected /v1/jobs web", server.Attributes()["nomad_sidecar.decision"]+" "+server.Attributes()["http.route"]+" "+server.Attributes()["nomad.job"])
	for name, span := range spans {
		if name != "PUT /v1/jobs" {
			must.Eq(t, server.SpanId, span.ParentSpanId, must.Sprint(name))
		}
	}
	must.Eq(t, fmt.Sprintf("00-%s-%x-01", clientTrace, spans["nomad PUT /v1/jobs"].SpanId), headers()[0].Get("traceparent"))
	must.StrContains(t, c.Text(), "g/note@1.0.0")
	must.StrNotContains(t, c.Text(), "s3cret")
}

// A collector that accepts connections but never responds does not delay requests, nor do spans that
// exceed the queue.
func TestTracing_CollectorHangs(t *testing.T) {
	hangs := make(chan struct{})
	asked := make(chan struct{}, 100)
	dead := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-hangs
	}))
	defer dead.Close()
	defer close(hangs)
	tracedTo(t, dead.URL, "OTEL_BSP_SCHEDULE_DELAY", "1", "OTEL_BSP_MAX_QUEUE_SIZE", "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
	nomad, headers := listeningNomad(t)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad)
	s.register("")
	s.next("job")
	select {
	case <-asked: // not answered until the test ends
	case <-time.After(testtimeout.Scale(30 * time.Second)):
		t.Fatal("the collector was not asked")
	}
	for range 20 {
		s.register("")
		s.next("job")
	}
	must.Len(t, 21, headers())
	s.client.CloseIdleConnections()
	must.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	s.next("shutting down")
	s.next("the last spans were not sent")
	must.NoError(t, s.cmd.Wait())
}

// If no collector listens at the address, requests succeed and the log reports it once.
func TestTracing_CollectorUnreachable(t *testing.T) {
	tracedTo(t, "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY", "1", "OTEL_BSP_EXPORT_TIMEOUT", "50")
	nomad, headers := listeningNomad(t)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad)
	for range 10 {
		s.register("")
	}
	must.Len(t, 10, headers())
	must.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	said := ""
	for s.lines.Scan() {
		said += s.lines.Text() + "\n"
	}
	must.NoError(t, s.cmd.Wait())
	must.Eq(t, 10, strings.Count(said, `"msg":"job"`))
	must.Eq(t, 1, strings.Count(said, `"msg":"cannot send spans"`), must.Sprint(said))
	must.StrNotContains(t, said+s.stderr.String(), "s3cret")
}

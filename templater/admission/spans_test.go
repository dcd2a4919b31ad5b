package admission

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shoenig/test/must"
	"github.com/shoenig/test/wait"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
	sampled     = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// traced enables tracing in the fixture's proxy and returns the spans.
func (f *fixture) traced(options ...sdk.TracerProviderOption) *tracetest.SpanRecorder {
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(append(options, sdk.WithSpanProcessor(spans))...)
	f.proxy.Tracer = provider.Tracer(SpanScope)
	return spans
}

// ended returns the only span of a name. The span may end after its response arrived.
func ended(t *testing.T, spans *tracetest.SpanRecorder, name string) sdk.ReadOnlySpan {
	t.Helper()
	var found []sdk.ReadOnlySpan
	must.Wait(t, wait.InitialSuccess(wait.BoolFunc(func() bool {
		found = nil
		for _, s := range spans.Ended() {
			if s.Name() == name {
				found = append(found, s)
			}
		}
		return len(found) > 0
	}), wait.Timeout(testtimeout.Scale(10*time.Second)), wait.Gap(time.Millisecond)), must.Sprintf("no span %q ended", name))
	must.Len(t, 1, found)
	return found[0]
}

func attributesOf(s sdk.ReadOnlySpan) map[string]string {
	out := map[string]string{}
	for _, a := range s.Attributes() {
		out[string(a.Key)] = a.Value.String()
	}
	return out
}

func TestSpans_Routes(t *testing.T) {
	f := start(t, notePolicy)
	for path, want := range map[string]string{
		"/v1/jobs?a=s3cret": "PUT /v1/jobs", "/v1/job/web": "PUT /v1/job/{job_id}", "/v1/job/team%2Fapi/plan": "PUT /v1/job/{job_id}/plan",
		"/v1/validate/job": "PUT /v1/validate/job", "/v1/job/web/revert": "PUT /v1/job/{job_id}/revert",
	} {
		spans := f.traced()
		f.send(http.MethodPut, path, strings.Replace(jobNamed("web"), "{", `{"JobID":"web",`, 1))
		s := ended(t, spans, want)
		must.Eq(t, trace.SpanKindServer, s.SpanKind())
		must.Eq(t, strings.TrimPrefix(want, "PUT "), attributesOf(s)["http.route"])
		must.Eq(t, "200", attributesOf(s)["http.response.status_code"], must.Sprint(path))
		must.Eq(t, "", attributesOf(s)["url.path"]+attributesOf(s)["url.query"])
		upstream := ended(t, spans, "nomad "+want)
		must.Eq(t, s.SpanContext().SpanID(), upstream.Parent().SpanID())
	}
}

func TestSpans_Decision(t *testing.T) {
	f := start(t, notePolicy+noBatch)
	spans := f.traced()
	f.send(http.MethodPut, "/v1/jobs?namespace=prod", jobNamed("web"))
	got := attributesOf(ended(t, spans, "PUT /v1/jobs"))
	must.Eq(t, "injected web prod", got["nomad_sidecar.decision"]+" "+got["nomad.job"]+" "+got["nomad.namespace"])
	must.Eq(t, `["g/note@1.0.0"] ["notes"]`, got["nomad_sidecar.sidecars"]+" "+got["nomad_sidecar.rules"])
	must.StrContains(t, f.audit.String(), ended(t, spans, "PUT /v1/jobs").SpanContext().TraceID().String())
	for _, child := range []string{"read", "choose", "plan"} {
		must.Eq(t, ended(t, spans, "PUT /v1/jobs").SpanContext().SpanID(), ended(t, spans, child).Parent().SpanID())
	}

	spans = f.traced()
	resp, _ := f.send(http.MethodPost, "/v1/jobs", strings.Replace(jobNamed("web"), `"ID"`, `"Type":"batch","ID"`, 1))
	must.Eq(t, http.StatusForbidden, resp.StatusCode)
	denied := ended(t, spans, "POST /v1/jobs")
	got = attributesOf(denied)
	must.Eq(t, `denied 403 ["no-batch"] ["Not allowed by policy"]`,
		got["nomad_sidecar.decision"]+" "+got["http.response.status_code"]+" "+got["nomad_sidecar.rules"]+" "+got["nomad_sidecar.reasons"])
	must.Eq(t, codes.Unset, denied.Status().Code) // the proxy did what it should
}

func TestSpans_ClientTrace(t *testing.T) {
	f := start(t, notePolicy)
	spans := f.traced()
	f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "traceparent", sampled, "tracestate", "vendor=x")
	server, upstream := ended(t, spans, "PUT /v1/jobs"), ended(t, spans, "nomad PUT /v1/jobs")
	must.Eq(t, clientTrace+" "+clientSpan, server.SpanContext().TraceID().String()+" "+server.Parent().SpanID().String())
	got, _ := f.last(t)
	must.Eq(t, "00-"+clientTrace+"-"+upstream.SpanContext().SpanID().String()+"-01", got.Header.Get("traceparent"))
	must.Eq(t, "vendor=x", got.Header.Get("tracestate"))

	// An unparsable trace starts a new one, and is not forwarded to Nomad.
	f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "traceparent", "00-nonsense", "tracestate", "vendor=x")
	got, _ = f.last(t)
	must.StrNotContains(t, got.Header.Get("traceparent"), "nonsense")
	must.Eq(t, "", got.Header.Get("tracestate"))
}

// If the client does not want a request sampled, neither the proxy nor Nomad records it.
func TestSpans_NotSampled(t *testing.T) {
	f := start(t, notePolicy)
	spans := f.traced()
	f.send(http.MethodPut, "/v1/jobs", jobNamed("web"), "traceparent", strings.TrimSuffix(sampled, "1")+"0")
	must.SliceEmpty(t, spans.Ended())
	got, _ := f.last(t)
	must.StrHasPrefix(t, "00-"+clientTrace, got.Header.Get("traceparent"))
	must.StrHasSuffix(t, "-00", got.Header.Get("traceparent"))
	must.StrNotContains(t, f.audit.String(), clientTrace)
}

func TestSpans_NoTracer(t *testing.T) {
	f := start(t, notePolicy)
	for _, path := range []string{"/v1/jobs", "/v1/search"} {
		f.send(http.MethodPut, path, jobNamed("web"), "traceparent", "ff-as-it-is", "tracestate", "x=1,,y")
		got, _ := f.last(t)
		must.Eq(t, "ff-as-it-is x=1,,y", got.Header.Get("traceparent")+" "+got.Header.Get("tracestate"))
	}
}

func TestSpans_NomadRequests(t *testing.T) {
	f := start(t, notePolicy)
	f.proxy.Accessors = &Accessors{}
	spans := f.traced()
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		must.StrContains(t, r.Header.Get("traceparent"), clientTrace, must.Sprint(r.URL.Path))
		if strings.HasSuffix(r.URL.Path, "/versions") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{}`) // a missing response fails the test
	}
	f.send(http.MethodPut, "/v1/job/web/revert", `{"JobID":"web","JobVersion":0}`, "X-Nomad-Token", "s3cret", "traceparent", sampled)
	versions := ended(t, spans, "nomad GET /v1/job/{job_id}/versions")
	must.Eq(t, "403", attributesOf(versions)["http.response.status_code"])
	must.Eq(t, codes.Error, versions.Status().Code)
	must.Eq(t, "200", attributesOf(ended(t, spans, "nomad GET /v1/acl/token/self"))["http.response.status_code"])
	must.Eq(t, "denied", attributesOf(ended(t, spans, "PUT /v1/job/{job_id}/revert"))["nomad_sidecar.decision"])
}

func TestSpans_NomadUnreachable(t *testing.T) {
	f := start(t, notePolicy)
	f.proxy.upstream.Host = "127.0.0.1:1"
	spans := f.traced()
	f.send(http.MethodPut, "/v1/jobs", jobNamed("web"))
	for _, name := range []string{"PUT /v1/jobs", "nomad PUT /v1/jobs"} {
		must.Eq(t, codes.Error, ended(t, spans, name).Status().Code)
		must.Eq(t, "502", attributesOf(ended(t, spans, name))["http.response.status_code"])
	}
}

// The forwarder panics if the response is aborted; the spans are exported nevertheless.
func TestSpans_ResponseAborted(t *testing.T) {
	f := start(t, notePolicy)
	spans := f.traced()
	f.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{") // the rest never comes
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.front.URL+"/v1/jobs", strings.NewReader(jobNamed("web")))
	must.NoError(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		must.NoError(t, resp.Body.Close())
	}
	must.Error(t, err)
	f.front.Close() // waits for the handler
	must.Eq(t, "200", attributesOf(ended(t, spans, "nomad PUT /v1/jobs"))["http.response.status_code"])
	ended(t, spans, "PUT /v1/jobs")
}

// Invalid UTF-8 could not be exported and would take the other spans of the batch with it; unbounded
// text would stay in memory.
func TestSpans_InvalidText(t *testing.T) {
	f := start(t, strings.Replace(notePolicy, "[\"default\", \"prod\"]", `["*"]`, 1))
	spans := f.traced()
	groups := make([]string, 200)
	for i := range groups {
		groups[i] = fmt.Sprintf(`{"Name":"g%d","Tasks":[{"Name":"app","Driver":"raw_exec"}]}`, i)
	}
	f.send(http.MethodPut, "/v1/jobs?namespace=%ff&region=%fe", `{"Job":{"ID":"web","TaskGroups":[`+strings.Join(groups, ",")+`]}}`)
	s := ended(t, spans, "PUT /v1/jobs")
	must.Eq(t, "\ufffd", attributesOf(s)["nomad.namespace"])
	for _, a := range s.Attributes() {
		must.True(t, utf8.ValidString(a.Value.String()), must.Sprint(a))
	}
	for _, a := range s.Attributes() {
		if a.Key == "nomad_sidecar.sidecars" {
			must.Len(t, maxListed, a.Value.AsStringSlice())
		}
	}
}

// Streams and WebSockets have no spans, which would be as long-lived, and pass as they would
// without a tracer.
func TestSpans_StreamsAndWebSockets(t *testing.T) {
	f := start(t, notePolicy)
	spans := f.traced()
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		must.Eq(t, sampled, r.Header.Get("traceparent"))
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "one\n") // a missing response fails the test
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		echo(t, w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.front.URL+"/v1/event/stream", nil)
	must.NoError(t, err)
	req.Header.Set("traceparent", sampled)
	resp, err := f.front.Client().Do(req)
	must.NoError(t, err)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	must.NoError(t, err)
	must.Eq(t, "one\n", line)
	cancel()
	must.NoError(t, resp.Body.Close())

	conn, err := net.Dial("tcp", f.front.Listener.Addr().String())
	must.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /v1/client/allocation/a/exec HTTP/1.1\r\nHost: nomad\r\nConnection: Upgrade\r\nUpgrade: websocket\r\ntraceparent: "+sampled+"\r\n\r\n")
	must.NoError(t, err)
	in := bufio.NewReader(conn)
	switched, err := http.ReadResponse(in, nil)
	must.NoError(t, err)
	must.Eq(t, http.StatusSwitchingProtocols, switched.StatusCode)
	_, err = io.WriteString(conn, "there and back\n")
	must.NoError(t, err)
	line, err = in.ReadString('\n')
	must.NoError(t, err)
	must.Eq(t, "there and back\n", line)
	must.SliceEmpty(t, spans.Started())
}

// echo switches protocols and returns one line.
func echo(t *testing.T, w http.ResponseWriter) {
	conn, buffer, err := w.(http.Hijacker).Hijack()
	must.NoError(t, err)
	defer conn.Close()
	_, _ = buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") // a missing response fails the test
	must.NoError(t, buffer.Flush())
	line, err := buffer.ReadString('\n')
	must.NoError(t, err)
	_, _ = buffer.WriteString(line)
	must.NoError(t, buffer.Flush())
}

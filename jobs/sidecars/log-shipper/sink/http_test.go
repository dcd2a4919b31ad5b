package sink_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/sink"
)

func post(t *testing.T, handler http.HandlerFunc, extra http.Header) error {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	target, err := url.Parse(server.URL + "/in?x=1")
	must.NoError(t, err)
	s := sink.NewHTTP(target, "application/x-ndjson", extra)
	defer func() { must.NoError(t, s.Close()) }()
	return s.Send(t.Context(), sink.Batch{ID: "S-7", Body: []byte("{}\n")})
}

func TestHTTPPostsTheBatchWithItsID(t *testing.T) {
	var got *http.Request
	var body []byte
	must.NoError(t, post(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}, http.Header{"Authorization": {"Bearer x"}}))
	must.Eq(t, "POST /in?x=1", got.Method+" "+got.RequestURI)
	must.Eq(t, "S-7", got.Header.Get("Idempotency-Key"))
	must.Eq(t, "application/x-ndjson", got.Header.Get("Content-Type"))
	must.Eq(t, "Bearer x", got.Header.Get("Authorization"))
	must.Eq(t, "{}\n", string(body))
}

func TestHTTPStatusDecides(t *testing.T) {
	for code, want := range map[int]string{
		400: `400 Bad Request: "no such index"`, 401: "401", 500: "500", 503: "503 Service Unavailable",
		301: "redirects are not followed", 307: "redirects are not followed", 304: "304",
	} {
		err := post(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "no such index\n")
		}, nil)
		must.ErrorContains(t, err, want)
	}
}

func TestHTTPRetryAfter(t *testing.T) {
	err := post(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	}, nil)
	var later *sink.LaterError
	must.True(t, errors.As(err, &later))
	must.Eq(t, 7*time.Second, later.After)
}

func TestHTTPErrorDoesNotShowThePassword(t *testing.T) {
	target, err := url.Parse("http://user:secret@127.0.0.1:1/")
	must.NoError(t, err)
	s := sink.NewHTTP(target, "text/plain", nil)
	err = s.Send(t.Context(), sink.Batch{})
	must.ErrorContains(t, err, "refused")
	must.StrNotContains(t, err.Error(), "secret")
}

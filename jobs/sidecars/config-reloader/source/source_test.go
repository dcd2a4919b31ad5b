package source_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/config-reloader/source"
)

func open(t *testing.T, address string) source.Source {
	t.Helper()
	s, err := source.Open(address, http.Header{"Authorization": {"Bearer x"}})
	must.NoError(t, err)
	return s
}

func get(t *testing.T, s source.Source) string {
	t.Helper()
	text, err := s.Get(t.Context())
	must.NoError(t, err)
	return string(text)
}

// server answers with what the test sets, and tells of the last request.
type server struct {
	*httptest.Server
	answer http.HandlerFunc
	last   *http.Request
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.last = r
		s.answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func text(body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		if w.Header().Get("ETag") != "" && r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, body)
	}
}

func TestHTTPAsksOnlyForWhatIsNew(t *testing.T) {
	s := serve(t, text("one", "ETag", `"1"`, "Last-Modified", "Fri, 02 Jan 2026 15:04:05 GMT"))
	src := open(t, s.URL)
	must.Eq(t, "one", get(t, src))
	must.Eq(t, "Bearer x", s.last.Header.Get("Authorization"))
	must.Eq(t, "", s.last.Header.Get("If-None-Match"))

	must.Eq(t, "one", get(t, src), must.Sprint("as the answer says that it has not changed"))
	must.Eq(t, `"1"`, s.last.Header.Get("If-None-Match"))
	must.Eq(t, "Fri, 02 Jan 2026 15:04:05 GMT", s.last.Header.Get("If-Modified-Since"))

	s.answer = text("two")
	must.Eq(t, "two", get(t, src))
	must.Eq(t, "two", get(t, src))
	must.Eq(t, "", s.last.Header.Get("If-None-Match"), must.Sprint("this answer had none"))
}

func TestHTTPThatIsNoAnswer(t *testing.T) {
	s := serve(t, text("one", "ETag", `"1"`))
	src := open(t, s.URL)
	must.Eq(t, "one", get(t, src))
	for want, answer := range map[string]http.HandlerFunc{
		"404 Not Found":  http.NotFound,
		"204 No Content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"unexpected EOF": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		},
		"more than 4194304 bytes": text(strings.Repeat("x", source.MaxBytes+1)),
	} {
		s.answer = answer
		_, err := src.Get(t.Context())
		must.ErrorContains(t, err, "get "+s.URL+": ")
		must.ErrorContains(t, err, want)
	}
	s.answer = text("one", "ETag", `"1"`)
	must.Eq(t, "one", get(t, src), must.Sprint("what is remembered is the last good answer"))
}

func TestErrorsDoNotShowThePassword(t *testing.T) {
	_, err := open(t, "http://user:secret@127.0.0.1:1/x").Get(t.Context())
	must.ErrorContains(t, err, "get http://user:xxxxx@127.0.0.1:1/x: dial")
	must.StrNotContains(t, err.Error(), "secret")
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	src := open(t, path)
	_, err := src.Get(t.Context())
	must.ErrorIs(t, err, os.ErrNotExist)
	for _, content := range []string{"one", "two"} {
		must.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		must.Eq(t, content, get(t, src))
	}
	_, err = open(t, filepath.Dir(path)).Get(t.Context())
	must.ErrorContains(t, err, "is not a regular file")
	must.NoError(t, os.Truncate(path, source.MaxBytes+1))
	_, err = src.Get(t.Context())
	must.ErrorContains(t, err, "more than 4194304 bytes")
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "web.conf", "ftp://x/y", "http:///x", "http://a:secret b@x"} {
		_, err := source.Open(address, nil)
		must.ErrorContains(t, err, "want an absolute path, or a URL")
	}
}

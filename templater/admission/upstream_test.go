package admission

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/shoenig/test/must"
)

// tooMany behaves like a Nomad above its connection limit: it responds before it reads a request.
func tooMany(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // until the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nYour IP is issuing too many concurrent connections")
			_ = conn.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

// A Nomad with too many connections is not reported as unreachable.
func TestUpstream_TooManyConnections(t *testing.T) {
	up, err := OpenUpstream(tooMany(t), nil)
	must.NoError(t, err)
	f := start(t, notePolicy)
	f.proxy.upstream = up.URL
	f.proxy.forward.Transport = up.Transport
	for range 100 {
		must.NoError(t, up.Answers(t.Context()))
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			resp, text := f.send(method, "/v1/jobs", jobNamed("web"))
			must.Eq(t, http.StatusTooManyRequests, resp.StatusCode, must.Sprint(text))
			must.StrContains(t, text, "too many concurrent connections")
		}
	}
}

// The first of several agents that accepts a connection is used until a connection fails.
func TestUpstream_SeveralAgents(t *testing.T) {
	named := func(name string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(s.Close)
		return s
	}
	first, second := named("first"), named("second")
	up, err := OpenUpstream("http://127.0.0.1:1, "+first.URL+","+second.URL, nil)
	must.NoError(t, err)
	asked := func() string {
		resp, err := (&http.Client{Transport: up.Transport}).Get(up.URL.String())
		must.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		must.NoError(t, err)
		return string(text)
	}
	must.Eq(t, "first", asked())
	must.Eq(t, first.URL, up.Address())
	first.Close()
	must.Eq(t, "second", asked())
	must.Eq(t, second.URL, up.Address())
	must.Eq(t, []string{"http://127.0.0.1:1", first.URL, second.URL}, up.Names())
	_, err = OpenUpstream("http://a:1,https://b:2", nil)
	must.ErrorContains(t, err, "both be http:// or both https://")
}

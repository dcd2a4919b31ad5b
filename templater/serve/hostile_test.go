package serve_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// A client that sends a header slowly or incompletely is cut off; others are served meanwhile.
func TestServe_SlowHeader(t *testing.T) {
	t.Parallel()
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", fakeNomad(t).URL)
	var slow []net.Conn
	for _, address := range []string{s.address, s.admin[len("http://"):]} {
		conn, err := net.Dial("tcp", address)
		must.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: nomad\r\nX-Slow: ")
		must.NoError(t, err)
		slow = append(slow, conn)
	}
	must.Eq(t, "passed", s.decision("http"))
	for _, conn := range slow {
		must.NoError(t, conn.SetReadDeadline(time.Now().Add(testtimeout.Scale(time.Minute))))
		_, err := io.ReadAll(conn) // ends with the connection
		must.NoError(t, err)
	}
	s.end()
}

// HTTP/2 streams that are opened and reset immediately affect neither the proxy nor other clients,
// and leave nothing at Nomad.
func TestServe_StreamsReset(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	nomad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			open.Add(1)
			defer open.Add(-1)
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	defer nomad.Close()
	client, flags := overTLS(t)
	s := startServing(t, client, append(flags, "-nomad-addr", nomad.URL)...)
	must.Eq(t, "passed", s.decision("https")) // there is a connection to Nomad for each
	var requests sync.WaitGroup
	for range 40 {
		requests.Go(func() {
			for range 50 {
				resetOne(t, client, "https://"+s.address+"/v1/event/stream")
			}
		})
	}
	requests.Wait()
	resp, err := client.Post("https://"+s.address+"/v1/jobs", "application/json", strings.NewReader(servedJob))
	must.NoError(t, err)
	must.NoError(t, resp.Body.Close())
	must.Eq(t, http.StatusOK, resp.StatusCode)
	for deadline := time.Now().Add(testtimeout.Scale(30 * time.Second)); open.Load() > 0; time.Sleep(time.Millisecond) {
		must.True(t, time.Now().Before(deadline), must.Sprintf("%d requests are left at Nomad", open.Load()))
	}
	s.skip(`"msg":"job"`) // and the errors of broken connections
	client.CloseIdleConnections()
	must.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.skip(`"msg":"shutting down"`)
	must.NoError(t, s.cmd.Wait())
}

// skip reads the log until a line contains text.
func (s *serving) skip(text string) {
	s.t.Helper()
	for s.lines.Scan() {
		if strings.Contains(s.lines.Text(), text) {
			return
		}
	}
	s.t.Fatalf("the log has no %s", text)
}

// resetOne cancels a request soon after sending it.
func resetOne(t *testing.T, client *http.Client, url string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(time.Millisecond, cancel).Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		_, err = client.Do(req)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a request that is reset: %v", err)
	}
}

// overTLS returns an HTTP/2 client and the flags with which serve is trusted by it.
func overTLS(t *testing.T) (*http.Client, []string) {
	t.Helper()
	server := httptest.NewTLSServer(nil) // provides the certificate
	t.Cleanup(server.Close)
	client := server.Client()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	t.Cleanup(client.CloseIdleConnections)
	return client, writeCertificate(t, t.TempDir(), server)
}

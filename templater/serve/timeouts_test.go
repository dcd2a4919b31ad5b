package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// pipes is an in-memory listener and dialer, for tests with a fake clock.
type pipes struct {
	conns chan net.Conn
	ended context.Context
	end   context.CancelFunc
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn)}
	p.ended, p.end = context.WithCancel(context.Background())
	return p
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.ended.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.end(); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4747} }

// The longest blocking query of Nomad: ten minutes plus jitter of a sixteenth.
const longestQuery = 10*time.Minute + 10*time.Minute/16

// slowNomad responds as slowly as Nomad may, and more slowly if Nomad has no limit.
func slowNomad(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/exec"):
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return // a missing response fails the test
		}
		defer conn.Close()
		fmt.Fprint(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = buffered.Flush()
		line, _ := buffered.ReadString('\n')
		fmt.Fprint(buffered, "echo "+line)
		_ = buffered.Flush()
	case r.URL.Path == "/v1/event/stream":
		for part := range 3 {
			fmt.Fprintln(w, part)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Hour)
		}
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // a missing response fails the test
		}
		time.Sleep(longestQuery)
		fmt.Fprintf(w, `{"EvalID":"%d"}`, len(body))
	}
}

// patient runs a test with the proxy as configured by the command, in front of a slow Nomad, in a
// synctest bubble with a fake clock.
func patient(t *testing.T, test func(t *testing.T, client *http.Client, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		front, back := newPipes(), newPipes()
		nomad := &http.Server{Handler: http.HandlerFunc(slowNomad)}
		go func() { _ = nomad.Serve(back) }() // until closed
		defer nomad.Close()
		s, err := Open(Options{
			Log: io.Discard, Address: "127.0.0.1:0", Nomad: "http://nomad:4646", MaxBodyMiB: 10, Drain: 30 * time.Second,
			Rules: func() (*admission.Rules, error) { return &admission.Rules{Catalog: &sidecar.Catalog{}}, nil },
			Files: func() []string { return nil },
		})
		must.NoError(t, err)
		must.NoError(t, s.listeners[s.front].Close())
		s.listeners[s.front] = front
		s.upstream.Transport.DialContext = back.dial
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, nil) }()
		client := &http.Client{Transport: &http.Transport{DialContext: front.dial}}
		defer func() {
			client.CloseIdleConnections()
			stop()
			must.NoError(t, <-ended)
		}()
		test(t, client, func() net.Conn {
			conn, err := front.dial(t.Context(), "", "")
			must.NoError(t, err)
			return conn
		})
	})
}

// Trap I24: the proxy has no timeout shorter than Nomad's longest responses, neither on routes that
// it only forwards nor on routes that it inspects.
func TestServe_LongestBlockingQuery(t *testing.T) {
	for name, ask := range map[string][2]string{
		"a blocking query":      {http.MethodGet, "/v1/jobs?index=7&wait=10m"},
		"another one":           {http.MethodGet, "/v1/job/web/allocations?index=7&wait=10m"},
		"a registration":        {http.MethodPut, "/v1/jobs"},
		"a plan":                {http.MethodPut, "/v1/job/web/plan"},
		"a snapshot to restore": {http.MethodPut, "/v1/operator/snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			patient(t, func(t *testing.T, client *http.Client, _ func() net.Conn) {
				began := time.Now()
				req, err := http.NewRequestWithContext(t.Context(), ask[0], "http://proxy"+ask[1], strings.NewReader(slowJob))
				must.NoError(t, err)
				resp, err := client.Do(req)
				must.NoError(t, err)
				defer resp.Body.Close()
				raw, err := io.ReadAll(resp.Body)
				must.NoError(t, err)
				must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(string(raw)))
				must.StrContains(t, string(raw), fmt.Sprintf(`"EvalID":"%d"`, len(slowJob)))
				must.Eq(t, longestQuery, time.Since(began))
			})
		})
	}
}

// slowJob gets no sidecars, so it arrives unchanged.
const slowJob = `{"Job":{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"raw_exec"}]}]}}`

// Trap I24.
func TestServe_SilentStream(t *testing.T) {
	patient(t, func(t *testing.T, client *http.Client, _ func() net.Conn) {
		began := time.Now()
		resp, err := client.Get("http://proxy/v1/event/stream")
		must.NoError(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		must.NoError(t, err)
		must.Eq(t, "0\n1\n2\n", string(raw))
		must.Eq(t, 3*time.Hour, time.Since(began))
	})
}

// A terminal without input for a whole night stays connected.
// Trap I24.
func TestServe_SilentTerminal(t *testing.T) {
	patient(t, func(t *testing.T, _ *http.Client, dial func() net.Conn) {
		conn := dial()
		defer conn.Close()
		fmt.Fprint(conn, "GET /v1/client/allocation/a/exec HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		lines := bufio.NewReader(conn)
		resp, err := http.ReadResponse(lines, nil)
		must.NoError(t, err)
		must.Eq(t, http.StatusSwitchingProtocols, resp.StatusCode)
		time.Sleep(8 * time.Hour)
		fmt.Fprint(conn, "ls\n")
		line, err := lines.ReadString('\n')
		must.NoError(t, err)
		must.Eq(t, "echo ls\n", line)
	})
}

// A client that stops sending is cut off, and holds no connection to Nomad before its first 64 KiB
// have arrived.
func TestBody_StalledIsCutOff(t *testing.T) {
	for _, path := range []string{"/v1/jobs", "/v1/operator/snapshot", "/v1/jobs/parse"} {
		// An http.Client may report that it could not send the rest in place of the response.
		patient(t, func(t *testing.T, _ *http.Client, dial func() net.Conn) {
			began := time.Now()
			conn := dial()
			var sending sync.WaitGroup
			defer sending.Wait()
			defer conn.Close()
			sending.Go(func() { // one byte per second
				_, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: proxy\r\nTransfer-Encoding: chunked\r\n\r\n", path)
				for i := 0; err == nil && i < 60; i++ {
					_, err = io.WriteString(conn, "1\r\nx\r\n")
					time.Sleep(time.Second)
				}
			})
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must.NoError(t, err)
			must.NoError(t, resp.Body.Close())
			must.Eq(t, http.StatusRequestTimeout, resp.StatusCode)
			must.Eq(t, 30*time.Second, time.Since(began), must.Sprint(path))
		})
	}
}

// A large body that arrives slowly but steadily is accepted.
func TestBody_SlowUploadArrives(t *testing.T) {
	patient(t, func(t *testing.T, client *http.Client, _ func() net.Conn) {
		body, sender := io.Pipe()
		go func() {
			defer sender.Close()
			for range 1000 { // 4 KiB per second, for 17 minutes
				if _, err := sender.Write(make([]byte, 4<<10)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://proxy/v1/operator/snapshot", body)
		must.NoError(t, err)
		resp, err := client.Do(req)
		must.NoError(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		must.NoError(t, err)
		must.StrContains(t, string(raw), `"EvalID":"4096000"`)
	})
}

// A large body that stops in the middle is cut off, also at Nomad.
func TestBody_UploadThatStops(t *testing.T) {
	patient(t, func(t *testing.T, client *http.Client, _ func() net.Conn) {
		began := time.Now()
		body, sender := io.Pipe()
		var sending sync.WaitGroup
		defer sending.Wait()
		defer sender.Close()
		sending.Go(func() { _, _ = sender.Write(make([]byte, 300<<10)) }) // ends with the pipe
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://proxy/v1/operator/snapshot", body)
		must.NoError(t, err)
		resp, err := client.Do(req)
		must.NoError(t, err)
		must.NoError(t, resp.Body.Close())
		must.Eq(t, http.StatusRequestTimeout, resp.StatusCode)
		must.Eq(t, 30*time.Second, time.Since(began))
	})
}

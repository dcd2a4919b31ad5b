package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
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

const (
	stranger = "127.0.0.2" // address of hostile clients
	floods   = 300
	// One client gets 26 of the 90 connections to Nomad, 19 of them for watches.
	clientShare, watchShare = 26, 19
)

// countingNomad counts connections and blocks some requests until released.
type countingNomad struct {
	*httptest.Server
	open, most atomic.Int64
	requests   atomic.Int64
	wait       time.Duration // of blocking queries
	ended      chan struct{}
}

func startCounting(t *testing.T) *countingNomad {
	t.Helper()
	n := &countingNomad{wait: time.Hour, ended: make(chan struct{})}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	n.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.requests.Add(1)
		switch {
		case r.Header.Get("Upgrade") == "websocket":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return // a missing response fails the test
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(conn, conn) // echo
		case r.URL.Query().Get("index") != "":
			// Like Nomad, until the wait has passed, also without the client.
			select {
			case <-time.After(n.wait):
			case <-n.ended:
			}
		case r.URL.Path == "/v1/large":
			_, _ = w.Write(large)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	n.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			now := n.open.Add(1)
			for most := n.most.Load(); now > most && !n.most.CompareAndSwap(most, now); most = n.most.Load() {
			}
		case http.StateClosed, http.StateHijacked:
			n.open.Add(-1)
		}
	}
	n.Start()
	t.Cleanup(func() {
		close(n.ended)
		n.CloseClientConnections()
		n.Close()
	})
	return n
}

// flood opens many connections and sends the same bytes on each.
func (s *serving) flood(from, text string) []net.Conn {
	s.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	all := make([]net.Conn, 0, floods)
	for range floods {
		conn, err := dialer.DialContext(s.t.Context(), "tcp", s.address)
		must.NoError(s.t, err)
		s.t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, text)
		must.NoError(s.t, err)
		all = append(all, conn)
	}
	return all
}

// answers counts the statuses received on connections, 0 for none. It reads until enough of the
// connections have a response or are closed and gives the others a short time more, or until
// wait has passed.
func answers(all []net.Conn, enough int, wait time.Duration) map[int]int {
	statuses := make([]int, len(all))
	ended := make(chan struct{}, len(all))
	var reading sync.WaitGroup
	for i, conn := range all {
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		reading.Go(func() {
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				statuses[i] = resp.StatusCode
			}
			ended <- struct{}{}
		})
	}
	for range enough {
		<-ended
	}
	for _, conn := range all {
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	}
	reading.Wait()
	out := map[int]int{}
	for _, status := range statuses {
		out[status]++
	}
	return out
}

// served returns the time another client needs for a registration, a plan and a list.
func (s *serving) served() time.Duration {
	s.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(s.t.Context(), testtimeout.Scale(10*time.Second))
	defer cancel()
	for _, ask := range [][2]string{{http.MethodPut, "/v1/jobs"}, {http.MethodPut, "/v1/job/web/plan"}, {http.MethodGet, "/v1/jobs"}} {
		req, err := http.NewRequestWithContext(ctx, ask[0], "http://"+s.address+ask[1], strings.NewReader(servedJob))
		must.NoError(s.t, err)
		resp, err := s.client.Do(req)
		must.NoError(s.t, err)
		raw, err := io.ReadAll(resp.Body)
		must.NoError(s.t, err)
		must.NoError(s.t, resp.Body.Close())
		must.Eq(s.t, http.StatusOK, resp.StatusCode, must.Sprintf("%s: %s", ask, raw))
	}
	return time.Since(begin)
}

// quit ends the process and ignores its log.
func (s *serving) quit() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	must.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.skip(`"msg":"shutting down"`)
	must.NoError(s.t, s.cmd.Wait())
}

// 300 connections of one client do not affect other clients, and hold at most that client's share
// of the connections to Nomad.
func TestFlood_OthersAreServed(t *testing.T) {
	request := func(head, body string) string { return head + "\r\nHost: nomad\r\n" + body }
	for name, c := range map[string]struct {
		sends string
		holds int64 // connections to Nomad
	}{
		"idle":                   {"", 0},
		"half a header":          {request("GET /v1/jobs HTTP/1.1", "X-Slow: "), 0},
		"a byte of a body":       {request("PUT /v1/jobs/parse HTTP/1.1", "Content-Length: 1000\r\n\r\n{"), 0},
		"a byte of a GET's body": {request("GET /v1/jobs HTTP/1.1", "Content-Length: 1000\r\n\r\n{"), 0},
		"a chunk":                {request("POST /v1/search HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), 0},
		"no body after Expect":   {request("PUT /v1/search HTTP/1.1", "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"), 0},
		"a part of a job":        {request("PUT /v1/jobs HTTP/1.1", "Content-Length: 9000000\r\n\r\n{\"Job\":"), 0},
		"a part of a plan":       {request("PUT /v1/job/web/plan HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"Job\r\n"), 0},
		"blocking queries":       {request("GET /v1/jobs?index=7&wait=10m HTTP/1.1", "\r\n"), watchShare},
		"hidden blocking":        {request("GET /v1/jobs?%69ndex=7 HTTP/1.1", "\r\n"), watchShare},
		"silent WebSockets":      {request("GET /v1/client/allocation/a/exec HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), watchShare},
		"answers nobody reads":   {request("GET /v1/large HTTP/1.1", "\r\n"), clientShare},
		"pipelined":              {strings.Repeat(request("GET /v1/jobs?index=1 HTTP/1.1", "\r\n"), 20), watchShare},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nomad := startCounting(t)
			s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", "0s")
			s.served()
			s.client.CloseIdleConnections()
			s.flood(stranger, c.sends)
			for range 3 {
				must.Less(t, testtimeout.Scale(5*time.Second), s.served())
			}
			// One belongs to the other client.
			must.LessEq(t, c.holds+2, nomad.most.Load())
			code, text := s.get(s.admin + "/readyz")
			must.Eq(t, http.StatusOK, code, must.Sprint(text))
			s.quit()
		})
	}
}

// Nomad keeps the connection of a blocking query whose client has left, so it counts as the
// client's until Nomad closes it.
func TestFlood_ClientsLeave(t *testing.T) {
	for name, sends := range map[string]string{
		"blocking queries": "GET /v1/jobs?index=7&wait=10m HTTP/1.1\r\nHost: nomad\r\n\r\n",
		"as a log":         "GET /v1/jobs?index=7&follow=true HTTP/1.1\r\nHost: nomad\r\n\r\n",
		"as a WebSocket":   "GET /v1/jobs?index=7 HTTP/1.1\r\nHost: nomad\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
		"a job":            "PUT /v1/jobs?index=7 HTTP/1.1\r\nHost: nomad\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nomad := startCounting(t)
			s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", "0s")
			for range 4 {
				for _, conn := range s.flood(stranger, sends) {
					must.NoError(t, conn.Close())
				}
				must.Less(t, testtimeout.Scale(5*time.Second), s.served())
			}
			must.LessEq(t, clientShare+6, nomad.most.Load()) // the page has four, the other client two
			s.quit()
		})
	}
}

// The slot of a query whose client has left is free once Nomad has responded.
func TestFlood_SlotReturns(t *testing.T) {
	t.Parallel()
	nomad := startCounting(t)
	nomad.wait = time.Second
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", "0s", "-max-upstream-per-client", "4")
	for range 3 {
		for _, conn := range s.flood(stranger, "GET /v1/jobs?index=7 HTTP/1.1\r\nHost: nomad\r\n\r\n") {
			must.NoError(t, conn.Close())
		}
		s.served()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(stranger)}}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.address)
		must.NoError(t, err)
		_, err = io.WriteString(conn, "GET /v1/jobs?index=7 HTTP/1.1\r\nHost: nomad\r\n\r\n")
		must.NoError(t, err)
		must.Eq(t, map[int]int{http.StatusOK: 1}, answers([]net.Conn{conn}, 1, testtimeout.Scale(10*time.Second)))
		must.NoError(t, conn.Close())
	}
	s.quit()
}

// A client above its share receives an error with the setting to change.
func TestFlood_LimitInResponse(t *testing.T) {
	t.Parallel()
	nomad := startCounting(t)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", "0s", "-max-connections-per-client", "200", "-max-upstream-per-client", "8", "-max-buffer", "20")
	all := s.flood(stranger, "GET /v1/jobs?index=7 HTTP/1.1\r\nHost: nomad\r\n\r\n")
	got := answers(all, floods-6, testtimeout.Scale(20*time.Second))                    // requests wait for 5 s
	must.Between(t, 200-6, got[http.StatusTooManyRequests], floods-6, must.Sprint(got)) // some are closed without a response
	_, text := s.get(s.admin + "/metrics")
	must.StrContains(t, text, `nomad_sidecar_refused_total{limit="connections",scope="client"} 100`)
	must.StrContains(t, text, `nomad_sidecar_refused_total{limit="upstream",scope="client"} 194`)
	s.served()

	// Memory for bodies: half of 20 MiB per client.
	large := "PUT /v1/jobs HTTP/1.1\r\nHost: nomad\r\nContent-Length: 9000000\r\n\r\n" + strings.Repeat(" ", 6<<20)
	statuses := map[int]int{}
	for range 3 {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.3")}}).DialContext(t.Context(), "tcp", s.address)
		must.NoError(t, err)
		defer conn.Close()
		go func() { _, _ = io.WriteString(conn, large) }() // may be closed meanwhile
		for status := range answers([]net.Conn{conn}, 1, testtimeout.Scale(time.Second)) {
			statuses[status]++
		}
	}
	must.Eq(t, 2, statuses[http.StatusTooManyRequests], must.Sprint(statuses))
	s.served()
	s.quit()
}

// A request is read exactly as Nomad reads it, or refused, before it is forwarded.
func TestHostile_Requests(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100_000)
	for name, c := range map[string]struct {
		sends  string
		status int   // 0: any, or none
		heard  int64 // requests received by Nomad
	}{
		"a large header":       {"GET /v1/jobs HTTP/1.1\r\nHost: n\r\nX-Large: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge, 0},
		"many headers":         {"GET /v1/jobs HTTP/1.1\r\nHost: n\r\n" + strings.Repeat("X-Many: x\r\n", 20_000) + "\r\n", http.StatusRequestHeaderFieldsTooLarge, 0},
		"two hosts":            {"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", http.StatusBadRequest, 0},
		"no host":              {"GET /v1/jobs HTTP/1.1\r\n\r\n", http.StatusBadRequest, 0},
		"a host with a slash":  {"GET /v1/jobs HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 1},
		"an absolute URI":      {"GET http://elsewhere.example/v1/jobs HTTP/1.1\r\nHost: n\r\n\r\n", http.StatusOK, 1},
		"CONNECT":              {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", 0, 1},
		"TRACE":                {"TRACE /v1/jobs HTTP/1.1\r\nHost: n\r\n\r\n", 0, 1},
		"both lengths":         {"PUT /v1/search HTTP/1.1\r\nHost: n\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/x HTTP/1.1\r\nHost: n\r\n\r\n", 0, 2},
		"two lengths":          {"PUT /v1/search HTTP/1.1\r\nHost: n\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\n{}", http.StatusBadRequest, 0},
		"deep JSON":            {fmt.Sprintf("PUT /v1/jobs HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%s", len(deep), deep), http.StatusBadRequest, 0},
		"a length without end": {"PUT /v1/jobs HTTP/1.1\r\nHost: n\r\nContent-Length: 9223372036854775807\r\n\r\n", http.StatusRequestEntityTooLarge, 0},
		"an endless chunk":     {"PUT /v1/search HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", http.StatusBadRequest, 0},
		"no HTTP":              {"\x16\x03\x01\x00\x00\r\n\r\n", http.StatusBadRequest, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nomad := startCounting(t)
			s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", "0s")
			conn, err := net.Dial("tcp", s.address)
			must.NoError(t, err)
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, c.sends) }() // may be closed meanwhile
			got := answers([]net.Conn{conn}, 1, testtimeout.Scale(5*time.Second))
			if c.status != 0 {
				must.Eq(t, map[int]int{c.status: 1}, got)
			}
			must.LessEq(t, c.heard, nomad.requests.Load())
			s.served()
			s.quit()
		})
	}
}

// A request receives exactly one 100 Continue.
func TestExpect_OneContinue(t *testing.T) {
	var expects atomic.Value
	nomad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		expects.Store(r.Header.Get("Expect"))
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{}`) // a missing response fails the test
	}))
	defer nomad.Close()
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", "0s")
	for _, path := range []string{"/v1/jobs", "/v1/search"} {
		conn, err := net.Dial("tcp", s.address)
		must.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: n\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", path, len(servedJob))
		must.NoError(t, err)
		lines := bufio.NewReader(conn)
		line, err := lines.ReadString('\n')
		must.NoError(t, err)
		must.Eq(t, "HTTP/1.1 100 Continue\r\n", line)
		_, err = io.WriteString(conn, servedJob)
		must.NoError(t, err)
		rest, err := io.ReadAll(lines)
		must.NoError(t, err)
		must.StrHasPrefix(t, "\r\nHTTP/1.1 200 OK\r\n", string(rest))
		must.Eq(t, "", expects.Load().(string))
	}
	s.quit()
}

// Shutdown waits for an open terminal and closes it after the drain time.
func TestDrain_WaitsForUpgradedConnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain time.Duration
		leave bool
	}{"the terminal ends": {time.Minute, true}, "it is cut off": {time.Second, false}} {
		t.Run(name, func(t *testing.T) {
			nomad := startCounting(t)
			s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL, "-drain", c.drain.String())
			conn, err := net.Dial("tcp", s.address)
			must.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET /v1/client/allocation/a/exec HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			must.NoError(t, err)
			lines := bufio.NewReader(conn)
			resp, err := http.ReadResponse(lines, nil)
			must.NoError(t, err)
			must.Eq(t, http.StatusSwitchingProtocols, resp.StatusCode)
			begin := time.Now()
			must.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.next("shutting down")
			_, err = io.WriteString(conn, "still here\n")
			must.NoError(t, err)
			line, err := lines.ReadString('\n')
			must.NoError(t, err)
			must.Eq(t, "still here\n", line)
			if c.leave {
				must.NoError(t, conn.Close())
			}
			must.NoError(t, s.cmd.Wait())
			must.Less(t, testtimeout.Scale(20*time.Second), time.Since(begin))
			if !c.leave {
				must.GreaterEq(t, c.drain, time.Since(begin))
			}
		})
	}
}

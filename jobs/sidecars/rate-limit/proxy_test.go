package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	re "regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
)

func regexp(pattern string) *re.Regexp { return re.MustCompile(pattern) }

// Requests and answers are the application's: nothing of them is changed.
func TestPassesOnWhatItGets(t *testing.T) {
	p := newPod(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Saw-Encoding", r.Header.Get("Accept-Encoding"))
		w.Header().Set("RateLimit", "mine")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, body)
	}), "-rate", "1000")
	a := p.send(http.MethodPut, p.url+"/a%2Fb//c?x=1;y=%zz&x=2", func(r *http.Request) {
		r.Host = "www.example.com"
		r.Header.Set("Accept-Encoding", "identity")
		r.Body = io.NopCloser(strings.NewReader("body"))
	})
	must.Eq(t, http.StatusTeapot, a.StatusCode)
	must.Eq(t, "PUT www.example.com /a%2Fb//c?x=1;y=%zz&x=2 body", a.body)
	must.Eq(t, "identity", a.Header.Get("X-Saw-Encoding"))
	must.Eq(t, []string{"mine"}, a.Header.Values("RateLimit"), must.Sprint("the application has limits of its own"))
	must.Eq(t, "", a.Header.Get("RateLimit-Policy"))
}

func TestSaysWhomARequestIsFrom(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Proto", "Forwarded"} {
			w.Header().Set("Saw-"+name, r.Header.Get(name))
		}
	})
	claim := func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", "6.6.6.6, 192.0.2.1")
		r.Header.Set("X-Real-IP", "6.6.6.6")
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Forwarded", "for=6.6.6.6")
	}
	saw := func(a answer) string {
		h := a.Header
		return strings.Join([]string{h.Get("Saw-X-Forwarded-For"), h.Get("Saw-X-Real-Ip"), h.Get("Saw-X-Forwarded-Proto"), h.Get("Saw-Forwarded")}, "|")
	}
	p := newPod(t, app, "-rate", "1000")
	must.Eq(t, "127.0.0.1|127.0.0.1|http|", saw(p.send(http.MethodGet, p.url, claim)))

	p = newPod(t, app, "-rate", "1000", "-trusted-proxy", "127.0.0.0/8")
	must.Eq(t, "6.6.6.6, 192.0.2.1, 127.0.0.1|192.0.2.1|https|for=6.6.6.6", saw(p.send(http.MethodGet, p.url, claim)))
}

// What a client claims gives it no second bucket, unless a trusted proxy says it.
func TestForwardedClients(t *testing.T) {
	from := func(address string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Forwarded-For", address) }
	}
	p := newPod(t, http.HandlerFunc(ok), never, "-burst", "1")
	must.Eq(t, http.StatusOK, p.send(http.MethodGet, p.url, from("192.0.2.1")).StatusCode)
	must.Eq(t, http.StatusTooManyRequests, p.send(http.MethodGet, p.url, from("192.0.2.2")).StatusCode)

	p = newPod(t, http.HandlerFunc(ok), never, "-burst", "1", "-trusted-proxy", "127.0.0.1")
	must.Eq(t, http.StatusOK, p.send(http.MethodGet, p.url, from("192.0.2.1")).StatusCode)
	must.Eq(t, http.StatusOK, p.send(http.MethodGet, p.url, from("192.0.2.2")).StatusCode)
	must.Eq(t, http.StatusTooManyRequests, p.send(http.MethodGet, p.url, from("6.6.6.6, 192.0.2.2")).StatusCode)
}

func TestOpenRequestsAreBounded(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	p := newPod(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-leave
	}), never, "-burst", "2", "-max-concurrent", "1")
	first := make(chan int)
	go func() { first <- p.get("/").StatusCode }()
	<-entered
	must.Eq(t, "1", p.metric("rate_limit_open_requests"))
	for range 5 {
		a := p.get("/")
		must.Eq(t, http.StatusServiceUnavailable, a.StatusCode)
		must.Eq(t, "1", a.Header.Get("Retry-After"))
	}
	leave <- true
	must.Eq(t, http.StatusOK, <-first)
	programtest.Until(t, func() error { // the slot is free a moment after the answer
		if open := p.metric("rate_limit_open_requests"); open != "0" {
			return fmt.Errorf("%s are open", open)
		}
		return nil
	})
	go func() { first <- p.get("/").StatusCode }()
	<-entered
	leave <- true
	must.Eq(t, http.StatusOK, <-first, must.Sprint("the refused took no token"))
	must.Eq(t, "5", p.metric(`rate_limit_requests_total{result="concurrency"}`))
}

func TestStreamsAsItComes(t *testing.T) {
	next := make(chan bool)
	p := newPod(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "24") // known or not, nothing is held back
		for i := range 3 {
			fmt.Fprintf(w, "event %d\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	}), "-rate", "1000")
	response, err := p.http.Get(p.url)
	must.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for i := range 3 { // each before the next is sent
		line, err := lines.ReadString('\n')
		must.NoError(t, err)
		must.Eq(t, fmt.Sprintf("event %d\n", i), line)
		next <- true
	}
}

// upgraded opens a connection that both sides use as they like, as WebSockets do.
func (p *pod) upgraded() (net.Conn, *bufio.Reader) {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	must.NoError(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	must.NoError(p.t, err)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	must.NoError(p.t, err)
	must.Eq(p.t, http.StatusSwitchingProtocols, response.StatusCode)
	return conn, reader
}

func echo(w http.ResponseWriter, _ *http.Request) {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(conn, buffer)
}

func TestUpgradedConnections(t *testing.T) {
	p := newPod(t, http.HandlerFunc(echo), "-rate", "1000")
	conn, reader := p.upgraded()
	for _, word := range []string{"one\n", "two\n"} {
		_, err := io.WriteString(conn, word)
		must.NoError(t, err)
		line, err := reader.ReadString('\n')
		must.NoError(t, err)
		must.Eq(t, word, line)
	}
	must.Eq(t, "1", p.metric("rate_limit_open_requests"))
	p.stop() // nothing else would end the connection
	_, err := reader.ReadString('\n')
	must.ErrorIs(t, err, io.EOF)
	must.NoError(t, <-p.ended)
}

func TestOpenRequestsEndWell(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	p := newPod(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- true
		<-leave
		fmt.Fprint(w, "done")
	}), "-rate", "1000")
	first := make(chan answer)
	go func() { first <- p.get("/") }()
	<-entered
	p.stop()
	programtest.Until(t, func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			_ = conn.Close()
			return fmt.Errorf("it still takes connections")
		}
		return nil
	})
	leave <- true
	must.Eq(t, "done", (<-first).body)
	must.NoError(t, <-p.ended)
}

func TestAnAppThatIsNotThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	must.NoError(t, listener.Close())
	p := newPodAt(t, listener.Addr().String(), "-rate", "1000")
	a := p.get("/")
	must.Eq(t, http.StatusBadGateway, a.StatusCode)
	must.Eq(t, "rate-limit: the application does not answer\n", a.body)
	must.Eq(t, "1", p.metric("rate_limit_app_errors_total"))
}

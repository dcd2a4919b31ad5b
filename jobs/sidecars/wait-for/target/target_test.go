package target

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resolver asks a name server on loopback that knows "there.test" as
// 127.0.0.1, and no other name.
func resolver(t *testing.T) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			if reply, err := answer(packet[:n]); err == nil {
				_, _ = server.WriteTo(reply, from) // the client asks again
			}
		}
	}()
	t.Cleanup(func() {
		must.NoError(t, server.Close())
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	m.Response, m.Additionals, m.RCode = true, nil, dnsmessage.RCodeNameError
	if strings.HasPrefix(q.Name.String(), "there.test.") {
		m.RCode = dnsmessage.RCodeSuccess
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
	}
	return m.Pack()
}

// closedPort is one that nothing listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	must.NoError(t, listener.Close())
	return listener.Addr().(*net.TCPAddr).Port
}

func statusServer(t *testing.T, start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("Location", "/200")
		w.WriteHeader(status)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(server)
	t.Cleanup(server.Close)
	return server
}

func TestTry(t *testing.T) {
	plain, secure := statusServer(t, (*httptest.Server).Start), statusServer(t, (*httptest.Server).StartTLS)
	port, closed := plain.Listener.Addr().(*net.TCPAddr).Port, closedPort(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // its backlog accepts, nobody answers
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, silent.Close()) })
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	cases := []struct {
		address string
		options Options
		reason  Reason // "" for an answer
		says    string
	}{
		{address: fmt.Sprintf("tcp://127.0.0.1:%d", port)},
		{address: fmt.Sprintf("tcp://there.test:%d", port)},
		{address: fmt.Sprintf("tcp://127.0.0.1:%d", closed), reason: Refused, says: fmt.Sprint("127.0.0.1:", closed)},
		{address: fmt.Sprintf("tcp://gone.test:%d", port), reason: Unresolved, says: "gone.test"},
		{address: "dns://there.test"},
		{address: "dns://gone.test", reason: Unresolved, says: "no such host"},
		{address: "file://" + t.TempDir()},
		{address: "file://" + filepath.Join(t.TempDir(), "ready"), reason: Missing, says: "ready"},
		{address: plain.URL + "/200"},
		{address: plain.URL + "/204"},
		{address: plain.URL + "/503", reason: Status, says: "it returns 503 Service Unavailable instead of 2xx"},
		{address: plain.URL + "/302", reason: Status, says: "302 Found"},
		{address: plain.URL + "/302", options: Options{Statuses: []int{302}}},
		{address: plain.URL + "/200", options: Options{Statuses: []int{204, 401}}, reason: Status, says: "200 OK instead of 204 or 401"},
		{address: fmt.Sprintf("http://user:secret@127.0.0.1:%d/", closed), reason: Refused, says: "connection refused"},
		{address: "http://gone.test/", reason: Unresolved, says: "gone.test"},
		{address: secure.URL + "/200", reason: Untrusted, says: "certificate"},
		{address: secure.URL + "/200", options: Options{Roots: roots}},
		{address: "http://" + silent.Addr().String() + "/", reason: TimedOut, says: "too long"},
	}
	names := resolver(t)
	for _, c := range cases {
		t.Run(c.address, func(t *testing.T) {
			c.options.Resolver = names
			target, err := Parse(c.address, c.options)
			must.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.reason == TimedOut {
				ctx, cancel = context.WithTimeoutCause(ctx, time.Millisecond, errors.New("too long"))
				defer cancel()
			}
			err = target.Try(ctx)
			if c.reason == "" {
				must.NoError(t, err)
				return
			}
			var explained *Error
			must.True(t, errors.As(err, &explained), must.Sprint(err))
			must.Eq(t, c.reason, explained.Reason, must.Sprint(err))
			must.ErrorContains(t, err, c.says)
			must.StrNotContains(t, err.Error()+target.String(), "secret")
		})
	}
}

// No test may need a network whose hosts cannot be reached.
func TestExplainUnreachable(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		must.Eq(t, Unreachable, explain(&net.OpError{Op: "dial", Err: errno}).Reason)
	}
	must.Eq(t, Failed, explain(errors.New("?")).Reason)
}

func TestParseRefuses(t *testing.T) {
	for _, address := range []string{
		"", "db:5432", "127.0.0.1:80", "tcp://db", "tcp://:80", "tcp://db:80/x", "udp://db:53", "http://", "https:///x",
		"dns://", "dns://db:53", "file://ready", "file://host/ready", "ftp://x/y", "http://a b/",
	} {
		_, err := Parse(address, Options{})
		must.ErrorContains(t, err, Forms, must.Sprint(address))
	}
}

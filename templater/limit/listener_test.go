package limit

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func listening(t *testing.T, l *Listener) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	l.Listener = inner
	accepted := make(chan net.Conn, 100)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() {
		must.NoError(t, l.Close())
		for conn := range accepted {
			_ = conn.Close()
			_ = conn.Close() // releases its share once
		}
		must.Zero(t, l.Connections.Used())
	})
	return inner.Addr().String()
}

func dial(t *testing.T, address, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	must.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

func TestListener_Limits(t *testing.T) {
	address := listening(t, &Listener{Connections: &Shares{Total: 3, PerClient: 2}, Refuse: func(why error) []byte { return []byte(why.Error()) }})
	dial(t, address, "127.0.0.1")
	dial(t, address, "127.0.0.1")
	third := dial(t, address, "127.0.0.1")
	_, err := io.WriteString(third, "GET / HTTP/1.1\r\n\r\n") // unread input does not destroy the response
	must.NoError(t, err)
	text, err := io.ReadAll(third)
	must.NoError(t, err)
	must.Eq(t, ErrClient.Error(), string(text))
	dial(t, address, "127.0.0.2")
	text, err = io.ReadAll(dial(t, address, "127.0.0.3"))
	must.NoError(t, err)
	must.Eq(t, ErrTotal.Error(), string(text))
}

func TestListener_Proxies(t *testing.T) {
	proxies, err := ParseProxies([]string{"127.0.0.1"})
	must.NoError(t, err)
	address := listening(t, &Listener{Connections: &Shares{Total: 3, PerClient: 1}, Exempt: proxies, Refuse: func(error) []byte { return nil }})
	for range 3 {
		dial(t, address, "127.0.0.1")
	}
	_, err = io.ReadAll(dial(t, address, "127.0.0.2"))
	must.NoError(t, err) // closed without a response
}

// A client that reads nothing is dropped when a write makes no progress.
func TestListener_WriteStalls(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	l := &Listener{Listener: inner, Connections: &Shares{}, WriteStall: 50 * time.Millisecond}
	defer l.Close()
	dial(t, inner.Addr().String(), "127.0.0.1")
	conn, err := l.Accept()
	must.NoError(t, err)
	defer conn.Close()
	for err == nil {
		_, err = conn.Write(make([]byte, 1<<20))
	}
	must.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

package sink_test

import (
	"io"
	"net"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/sink"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func syslog(t *testing.T, network, address string) *sink.Syslog {
	t.Helper()
	s := sink.NewSyslog(network, address)
	t.Cleanup(func() { must.NoError(t, s.Close()) })
	return s
}

func TestSyslogStreamsBatchesOverOneConnection(t *testing.T) {
	l := listen(t)
	s := syslog(t, "tcp", l.Addr().String())
	must.NoError(t, s.Send(t.Context(), sink.Batch{Body: []byte("3 one")}))
	must.NoError(t, s.Send(t.Context(), sink.Batch{Body: []byte("3 two")}))
	conn, err := l.Accept()
	must.NoError(t, err)
	defer conn.Close()
	must.NoError(t, s.Close())
	all, err := io.ReadAll(conn)
	must.NoError(t, err)
	must.Eq(t, "3 one3 two", string(all))
}

// A batch that goes to a connection which the receiver has closed would be
// acknowledged by nobody.
func TestSyslogNoticesThatTheReceiverHasGone(t *testing.T) {
	l := listen(t)
	s := syslog(t, "tcp", l.Addr().String())
	must.NoError(t, s.Send(t.Context(), sink.Batch{Body: []byte("3 one")}))
	first, err := l.Accept()
	must.NoError(t, err)
	_, err = io.ReadFull(first, make([]byte, 5))
	must.NoError(t, err)
	must.NoError(t, first.Close())

	must.NoError(t, s.Send(t.Context(), sink.Batch{Body: []byte("3 two")}))
	second, err := l.Accept()
	must.NoError(t, err)
	defer second.Close()
	must.NoError(t, s.Close())
	all, err := io.ReadAll(second)
	must.NoError(t, err)
	must.Eq(t, "3 two", string(all))
}

// What is more than fits into the buffers of both kernels has not arrived
// before the receiver reads.
func TestSyslogWaitsForTheReceiver(t *testing.T) {
	l := listen(t)
	s := syslog(t, "tcp", l.Addr().String())
	body := make([]byte, 32<<20)
	sent := make(chan error, 1)
	go func() { sent <- s.Send(t.Context(), sink.Batch{Body: body}) }()
	conn, err := l.Accept()
	must.NoError(t, err)
	defer conn.Close()
	_, err = io.CopyN(io.Discard, conn, 1<<20)
	must.NoError(t, err)
	select {
	case err := <-sent:
		t.Fatalf("it is said to have arrived: %v", err)
	default:
	}
	_, err = io.CopyN(io.Discard, conn, 31<<20)
	must.NoError(t, err)
	must.NoError(t, <-sent)
}

func TestSyslogThatBreaksIsAnError(t *testing.T) {
	l := listen(t)
	s := syslog(t, "tcp", l.Addr().String())
	sent := make(chan error, 1)
	go func() { sent <- s.Send(t.Context(), sink.Batch{Body: make([]byte, 32<<20)}) }()
	conn, err := l.Accept()
	must.NoError(t, err)
	must.NoError(t, conn.Close())
	must.ErrorContains(t, <-sent, "send to "+l.Addr().String())

	must.NoError(t, l.Close())
	must.ErrorContains(t, s.Send(t.Context(), sink.Batch{Body: []byte("1 a")}), "refused")
}

func TestSyslogDatagrams(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must.NoError(t, err)
	defer conn.Close()
	s := syslog(t, "udp", conn.LocalAddr().String())
	must.NoError(t, s.Send(t.Context(), sink.Batch{Body: []byte("3 one5 a 7 b0 3 two")}))
	for _, want := range []string{"one", "a 7 b", "", "two"} {
		buffer := make([]byte, 100)
		n, _, err := conn.ReadFrom(buffer)
		must.NoError(t, err)
		must.Eq(t, want, string(buffer[:n]))
	}
	must.ErrorContains(t, s.Send(t.Context(), sink.Batch{Body: []byte("no count")}), "no octet count")
	must.ErrorContains(t, s.Send(t.Context(), sink.Batch{Body: []byte("9 short")}), "no octet count")
}

package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// agents are the agents of a cluster. One is used until a connection to it fails.
type agents struct {
	all  []agent
	last atomic.Int64 // index of the last agent reached
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

type agent struct {
	address string // as configured
	url     *url.URL
	socket  string // "" for TCP
}

func (a *agents) current() agent { return a.all[a.last.Load()] }

// connect dials the agents in turn, starting with the last one reached.
func (a *agents) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, _, err := a.reach(ctx)
	if err != nil {
		return nil, err
	}
	return newPatientConn(conn), nil
}

// connectTLS is connect with TLS. A failed handshake is not retried with another agent.
func (a *agents) connectTLS(ctx context.Context, config *tls.Config) (net.Conn, error) {
	raw, to, err := a.reach(ctx)
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = to.url.Hostname()
	}
	conn := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake with Nomad at %s: %w", to.url.Host, err), raw.Close())
	}
	return newPatientConn(conn), nil
}

func (a *agents) reach(ctx context.Context) (net.Conn, agent, error) {
	begin := int(a.last.Load())
	var errs []error
	for i := range a.all {
		at := (begin + i) % len(a.all)
		conn, err := a.one(ctx, a.all[at])
		if err == nil {
			a.last.Store(int64(at))
			return conn, a.all[at], nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, agent{}, errors.Join(errs...)
}

func (a *agents) one(ctx context.Context, to agent) (net.Conn, error) {
	if to.socket != "" {
		return a.dial(ctx, "unix", to.socket)
	}
	port := portOf(to.url)
	return a.dial(ctx, "tcp", net.JoinHostPort(to.url.Hostname(), port))
}

// patientConn returns no input before the first request was written. A Nomad with too many
// connections sends a 429 immediately and resets the connection. If the transport read it before
// the request, it would be unsolicited; if it read it later, the data would be lost. patientConn
// therefore reads the first bytes when they arrive and buffers them.
type patientConn struct {
	net.Conn
	begun chan struct{} // closed by the first Write and by Close
	begin func()
	first chan struct{}
	bytes []byte // the first bytes read; valid after first is closed
	err   error
}

// firstBytes is enough for Nomad's 429.
const firstBytes = 1 << 10

func newPatientConn(conn net.Conn) *patientConn {
	c := &patientConn{Conn: conn, begun: make(chan struct{}), first: make(chan struct{})}
	c.begin = sync.OnceFunc(func() { close(c.begun) })
	go func() { // ends with the connection at the latest
		defer close(c.first)
		buf := make([]byte, firstBytes)
		n, err := conn.Read(buf)
		c.bytes, c.err = buf[:n], err
	}()
	return c
}

func (c *patientConn) Read(b []byte) (int, error) {
	<-c.begun
	<-c.first
	if len(c.bytes) > 0 {
		n := copy(b, c.bytes)
		c.bytes = c.bytes[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

// Write ignores errors caused by the peer: the next Read returns the response or the error.
func (c *patientConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.begin()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return len(b), nil
	}
	return n, err
}

func (c *patientConn) Close() error {
	c.begin()
	return c.Conn.Close()
}

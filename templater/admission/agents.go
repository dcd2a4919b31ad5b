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

// agents are those of one cluster, of which one is used until it cannot be connected to.
type agents struct {
	all  []agent
	last atomic.Int64 // index of the one reached last
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

type agent struct {
	address string // as it was given
	url     *url.URL
	socket  string // "" for TCP
}

func (a *agents) current() agent { return a.all[a.last.Load()] }

// connect dials the agents in turn, beginning with the last good one.
func (a *agents) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, _, err := a.reach(ctx)
	if err != nil {
		return nil, err
	}
	return newPatientConn(conn), nil
}

// connectTLS is connect for https. A handshake that fails is not tried elsewhere.
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
		return nil, errors.Join(fmt.Errorf("TLS with Nomad at %s: %w", to.url.Host, err), raw.Close())
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

// patientConn shows nothing of an answer before the first request is written. A Nomad
// with too many connections answers 429 as soon as one is made, and resets it: read by
// the transport at once, that would be an answer to no request, and read later it would
// be gone. So the first bytes are read when they arrive, and kept.
type patientConn struct {
	net.Conn
	begun chan struct{} // closed by the first write, and by Close
	begin func()
	first chan struct{}
	bytes []byte // what was read first, once first is closed
	err   error
}

// firstBytes holds Nomad's 429.
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

// Write reports no error of the other side: the answer, or the error, is read next.
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

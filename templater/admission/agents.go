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

// patientConn reads nothing before the first request is written. A Nomad with too many
// connections answers 429 as soon as one is made, and closes it: read at once, that
// would be an answer to no request, and the request would fail as if Nomad were silent.
type patientConn struct {
	net.Conn
	begun chan struct{} // closed by the first write, and by Close
	begin func()
	wrote atomic.Bool
}

func newPatientConn(conn net.Conn) *patientConn {
	c := &patientConn{Conn: conn, begun: make(chan struct{})}
	c.begin = sync.OnceFunc(func() { close(c.begun) })
	return c
}

func (c *patientConn) Read(b []byte) (int, error) {
	<-c.begun
	return c.Conn.Read(b)
}

// Write takes a first write that fails for done: the answer, or the error, is read next.
func (c *patientConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	first := c.wrote.CompareAndSwap(false, true)
	c.begin()
	if first && err != nil {
		return len(b), nil
	}
	return n, err
}

func (c *patientConn) Close() error {
	c.begin()
	return c.Conn.Close()
}

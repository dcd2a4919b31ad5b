package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/procfs"
)

// slowAddress is the source address of slow clients: serve counts them as one client.
const slowAddress = "127.0.0.2"

// blocking is a query that Nomad answers after a turn. Its clients repeat it, without reading.
const blocking = "GET /v1/jobs?index=1000000&wait=20s HTTP/1.1\r\nHost: nomad\r\n\r\n"

// slowRequests returns the first bytes of slow clients; they then send one byte per second.
func slowRequests() []string {
	return []string{
		"PUT /v1/jobs/parse HTTP/1.1\r\nHost: nomad\r\nContent-Length: 100000\r\n\r\n{",
		"PUT /v1/jobs HTTP/1.1\r\nHost: nomad\r\nContent-Length: 100000\r\n\r\n{",
		blocking,
		"GET /v1/jobs HTTP/1.1\r\nX-Slow: ",
	}
}

// slowClients are open connections to a proxy.
type slowClients struct {
	conns   []net.Conn
	stop    context.CancelFunc
	sending sync.WaitGroup
}

// openSlow opens connections to a proxy that send bytes slowly until close.
func (f *field) openSlow(ctx context.Context, to string) (*slowClients, error) {
	ctx, stop := context.WithCancel(ctx)
	s := &slowClients{stop: stop}
	at, err := url.Parse(to)
	if err != nil {
		return s, err
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(slowAddress)}}
	requests := slowRequests()
	for i := range f.slow {
		conn, err := dialer.DialContext(ctx, "tcp", at.Host)
		if err != nil {
			return s, fmt.Errorf("open a slow connection: %w", err)
		}
		s.conns = append(s.conns, conn)
		text := requests[i%len(requests)]
		s.sending.Go(func() { trickle(ctx, conn, text) })
	}
	return s, nil
}

func trickle(ctx context.Context, conn net.Conn, text string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return // the proxy closed it
		}
		if text != blocking {
			text = "x"
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *slowClients) close() error {
	s.stop()
	var errs []error
	for _, conn := range s.conns {
		errs = append(errs, conn.Close())
	}
	s.sending.Wait()
	return errors.Join(errs...)
}

// held returns the number of a process's established connections to Nomad.
func (c *child) held(port uint64) (int, error) {
	p, err := procfs.NewProc(c.cmd.Process.Pid)
	if err != nil {
		return 0, fmt.Errorf("read process %s: %w", c.name, err)
	}
	links, err := p.FileDescriptorTargets()
	if err != nil {
		return 0, fmt.Errorf("read process %s: %w", c.name, err)
	}
	own := map[string]bool{}
	for _, link := range links {
		own[link] = true
	}
	n := 0
	lines, err := connections()
	for _, line := range lines {
		if line.RemPort == port && line.St == established && own[fmt.Sprintf("socket:[%d]", line.Inode)] {
			n++
		}
	}
	return n, err
}

// States of a TCP connection (include/net/tcp_states.h).
const (
	established = 1
	closeWait   = 8
)

// connections lists the TCP connections in the sandbox.
func connections() (procfs.NetTCP, error) {
	fs, err := procfs.NewFS("/proc")
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 its replacement would be one more module, for a measurement
	lines, err := fs.NetTCP()
	if err != nil {
		return nil, fmt.Errorf("read connections: %w", err)
	}
	return lines, nil
}

// accepted returns the number of connections that count for a server's limit: it keeps connections
// of clients that have left while it works on their request.
func accepted(port uint64) (int, error) {
	n := 0
	lines, err := connections()
	for _, line := range lines {
		if line.LocalPort == port && (line.St == established || line.St == closeWait) {
			n++
		}
	}
	return n, err
}

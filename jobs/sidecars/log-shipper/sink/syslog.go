package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialTimeout = 10 * time.Second

	// ackTimeout bounds the wait for the receiver's kernel to acknowledge a batch.
	ackTimeout = 30 * time.Second

	// tcpEstablished is TCP_ESTABLISHED of Linux's net/tcp_states.h.
	tcpEstablished = 1
)

// Syslog sends batches of messages with octet counts: unchanged over TCP, and as
// one datagram per message, without the count, over UDP.
type Syslog struct {
	network, address string
	conn             net.Conn // nil: not connected
}

// NewSyslog returns a sink for host:port. The network is "tcp" or "udp".
func NewSyslog(network, address string) *Syslog {
	return &Syslog{network: network, address: address}
}

// Send sends a batch. Syslog has no response: over TCP a batch counts as arrived
// when the receiver's kernel has acknowledged every byte on a connection that is
// still open, over UDP when it was sent.
func (s *Syslog) Send(ctx context.Context, b Batch) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	var err error
	if s.network == "udp" {
		err = s.datagrams(b.Body)
	} else {
		err = s.stream(ctx, b.Body)
	}
	if err != nil {
		// Bytes sent before the error may not have arrived and a message may be
		// truncated, so the next attempt uses a new connection.
		return errors.Join(fmt.Errorf("send to %s: %w", s.address, err), s.Close())
	}
	return nil
}

// connect ensures a connection that the receiver has not closed.
func (s *Syslog) connect(ctx context.Context) error {
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		if _, err := unacknowledged(tcp); err != nil {
			_ = s.Close() // reconnect below
		}
	}
	if s.conn != nil {
		return nil
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil {
		return err
	}
	s.conn = conn
	return nil
}

func (s *Syslog) stream(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := s.conn.Write(body); err != nil {
		return err
	}
	tcp, ok := s.conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("%T is no TCP connection", s.conn)
	}
	// The kernel has no notification for an empty send queue.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := unacknowledged(tcp)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d bytes were not acknowledged: %w", left, ctx.Err())
		}
	}
}

// unacknowledged returns the number of bytes that the peer's kernel has not
// acknowledged (SIOCOUTQ, tcp(7)). It returns an error if the peer has closed the
// connection, since the count is meaningless then.
func unacknowledged(conn *net.TCPConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var (
		left int
		info *unix.TCPInfo
		errs [2]error
	)
	err = raw.Control(func(fd uintptr) {
		left, errs[0] = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		info, errs[1] = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err := errors.Join(err, errs[0], errs[1]); err != nil {
		return 0, err
	}
	if info.State != tcpEstablished {
		return 0, errors.New("the receiver has closed the connection")
	}
	return left, nil
}

func (s *Syslog) datagrams(body []byte) error {
	for len(body) > 0 {
		count, rest, found := bytes.Cut(body, []byte(" "))
		n, err := strconv.Atoi(string(count))
		if !found || err != nil || n > len(rest) {
			return fmt.Errorf("no octet count in %q", shorten(string(body)))
		}
		if _, err := s.conn.Write(rest[:n]); err != nil {
			return err
		}
		body = rest[n:]
	}
	return nil
}

// Close closes the connection.
func (s *Syslog) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

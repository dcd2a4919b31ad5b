package limit

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Listener accepts connections within limits, and tells those above them why they are
// closed. A write to a connection must go on within a time, so that a client that reads
// nothing is dropped.
type Listener struct {
	net.Listener
	Connections *Shares
	// Exempt hosts are bounded by the total alone.
	Exempt Proxies
	// WriteStall is how long one write may make no progress.
	WriteStall time.Duration
	// Refuse returns what to send before closing, nil for nothing.
	Refuse func(error) []byte

	telling sync.WaitGroup
	tellers chan struct{}
	once    sync.Once
}

const (
	mostTellers = 64 // connections that are told at once why they are closed
	tellTime    = 200 * time.Millisecond
	writePiece  = 64 << 10
)

// Accept returns the next connection within the limits.
func (l *Listener) Accept() (net.Conn, error) {
	l.once.Do(func() { l.tellers = make(chan struct{}, mostTellers) })
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := Of(conn.RemoteAddr())
		if at, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && l.Exempt.Include(at.Addr()) {
			client = Client{}
		}
		if err := l.Connections.Take(client, 1); err != nil {
			l.refuse(conn, err)
			continue
		}
		return &limitedConn{Conn: conn, stall: l.WriteStall, give: sync.OnceFunc(func() { l.Connections.Give(client, 1) })}, nil
	}
}

// refuse closes a connection, after a word if there is time for one.
func (l *Listener) refuse(conn net.Conn, why error) {
	text := l.Refuse(why)
	select {
	case l.tellers <- struct{}{}:
	default:
		text = nil
	}
	if text == nil {
		_ = conn.Close()
		return
	}
	l.telling.Go(func() {
		defer func() { <-l.tellers }()
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(tellTime))
		if _, err := conn.Write(text); err != nil {
			return
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			// Unread bytes at a close would destroy the answer on its way.
			_, _ = io.CopyN(io.Discard, conn, writePiece)
		}
	})
}

// Close closes the listener and waits for connections that are being refused.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	l.telling.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// limitedConn gives its share back once, when it is closed.
type limitedConn struct {
	net.Conn
	stall time.Duration
	give  func()
}

func (c *limitedConn) Close() error {
	defer c.give()
	return c.Conn.Close()
}

// Write writes pieces, each within the time for one.
func (c *limitedConn) Write(b []byte) (int, error) {
	n := 0
	for {
		piece := b[n:min(len(b), n+writePiece)]
		if c.stall > 0 {
			_ = c.SetWriteDeadline(time.Now().Add(c.stall)) // a failure shows when writing
		}
		m, err := c.Conn.Write(piece)
		n += m
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// CloseWrite is for TLS, which ends a connection by half.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

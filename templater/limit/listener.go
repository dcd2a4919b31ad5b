package limit

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Listener accepts connections within limits. It sends the reason to connections above a limit
// before it closes them. It closes a connection that blocks a write for too long.
type Listener struct {
	net.Listener
	Connections *Shares
	// Exempt hosts are limited by the total only.
	Exempt Proxies
	// WriteStall limits how long a write may make no progress.
	WriteStall time.Duration
	// Refuse returns the bytes to send before closing, or nil.
	Refuse func(error) []byte

	telling sync.WaitGroup
	tellers chan struct{}
	once    sync.Once
}

const (
	maxRefusing = 64 // connections that receive a reason concurrently
	tellTime    = 200 * time.Millisecond
	writePiece  = 64 << 10
)

// Accept returns the next connection within the limits.
func (l *Listener) Accept() (net.Conn, error) {
	l.once.Do(func() { l.tellers = make(chan struct{}, maxRefusing) })
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

// refuse sends the reason, if the client reads it in time, and closes the connection.
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
			// Closing with unread input would reset the connection and lose the response.
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

// limitedConn releases its share once, on Close.
type limitedConn struct {
	net.Conn
	stall time.Duration
	give  func()
}

func (c *limitedConn) Close() error {
	defer c.give()
	return c.Conn.Close()
}

// Write writes in pieces and limits the time for each.
func (c *limitedConn) Write(b []byte) (int, error) {
	n := 0
	for {
		piece := b[n:min(len(b), n+writePiece)]
		if c.stall > 0 {
			_ = c.SetWriteDeadline(time.Now().Add(c.stall)) // an error shows on writing
		}
		m, err := c.Conn.Write(piece)
		n += m
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// CloseWrite supports TLS, which closes one direction of a connection.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	bodyTimeout   = time.Minute
	maxHeader     = 64 << 10
	maxStreams    = 100       // per HTTP/2 connection: the minimum that RFC 9113 6.5.2 recommends
	streamBuffer  = 64 << 10  // per HTTP/2 stream
	connBuffer    = 128 << 10 // per HTTP/2 connection
	pingAfter     = time.Minute
	pingTimeout   = 15 * time.Second
	writeStall    = 10 * time.Minute // for a client that reads nothing; a pager may pause a log
	maxAdminConns = 256
	adminTimeout  = time.Minute
	// reservedShare: one in this many connections to Nomad is reserved for jobs.
	reservedShare = 8
	// ownQuestions is the number of connections to Nomad in addition to requests, for readyz.
	ownQuestions = 2
)

// admissionLimits returns the limits of the proxy; the listener has its own.
func (s *Server) admissionLimits() (admission.Limits, error) {
	l := s.Limits
	proxies, err := limit.ParseProxies(l.TrustedProxies)
	if err != nil {
		return admission.Limits{}, fmt.Errorf("-trusted-proxy: %w", err)
	}
	if l.Upstream > 0 {
		s.upstream.Transport.MaxConnsPerHost = l.Upstream + ownQuestions
	}
	return admission.Limits{
		Proxies: proxies,
		// HTTP/1 has one request at a time per connection; HTTP/2 gets the same number in total.
		Requests: &limit.Shares{Total: l.Connections, PerClient: l.ConnectionsPerClient},
		Buffers:  &limit.Shares{Total: l.BufferMiB << 20, PerClient: l.BufferMiB << 20 / 2},
		Upstream: &limit.Slots{Total: l.Upstream, Reserved: l.Upstream / reservedShare, PerClient: l.UpstreamPerClient},
	}, nil
}

// limited returns a listener for Nomad's API. Before a TLS handshake the server cannot send an
// error, so it closes such connections without one.
func (s *Server) limited(l net.Listener, config *tls.Config, proxies limit.Proxies) net.Listener {
	out := &limit.Listener{
		Listener: l, Exempt: proxies, WriteStall: writeStall,
		Connections: &limit.Shares{Total: s.Limits.Connections, PerClient: s.Limits.ConnectionsPerClient},
		Refuse: func(why error) []byte {
			s.metrics.RefusedConnection(why)
			if config != nil {
				return nil
			}
			return refusalOf(why)
		},
	}
	if config != nil {
		return tls.NewListener(out, config)
	}
	return out
}

func refusalOf(why error) []byte {
	status, text := http.StatusServiceUnavailable, "nomad-sidecar: too many connections; see -max-connections of nomad-sidecar serve\n"
	if errors.Is(why, limit.ErrClient) {
		status, text = http.StatusTooManyRequests, "nomad-sidecar: too many connections from this address; see -max-connections-per-client of nomad-sidecar serve\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nRetry-After: 5\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(text), text)
}

// limitedAdmin returns a listener for the admin page.
func (s *Server) limitedAdmin(l net.Listener) net.Listener {
	return &limit.Listener{Listener: l, Connections: &limit.Shares{Total: maxAdminConns}, WriteStall: adminTimeout, Refuse: func(why error) []byte {
		s.metrics.RefusedConnection(why)
		return nil
	}}
}

// newFront returns the server for Nomad's API. It has no write timeout, because blocking queries,
// streams and exec are long-lived.
func (s *Server) newFront() *http.Server {
	return &http.Server{
		Handler: s.tracked(s.proxy), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: connBuffer, MaxReceiveBufferPerStream: streamBuffer,
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeStall,
		},
	}
}

func newAdmin() *http.Server {
	return &http.Server{
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: adminTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
}

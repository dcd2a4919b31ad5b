package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

const unixPrefix = "unix:"

// SocketPath returns the path of an address of the form unix:/path.
func SocketPath(address string) (path string, ok bool) {
	return strings.CutPrefix(address, unixPrefix)
}

// CheckAddress returns an error unless address is unix:/PATH or LOOPBACK:PORT: metrics have no
// access control, so they are not for other hosts.
func CheckAddress(address string) error {
	if path, ok := SocketPath(address); ok {
		if !filepath.IsAbs(path) {
			return errors.New("the path of the socket must be absolute")
		}
		return nil
	}
	if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().IsLoopback() || at.Port() == 0 {
		return errors.New(`want "unix:/path/of/socket", or a port of a loopback address such as "127.0.0.1:9630"`)
	}
	return nil
}

// Limits of the server. Every user of the host can connect to a loopback address.
const (
	maxConnections = 16
	maxHeaderBytes = 8 << 10
	requestTimeout = 10 * time.Second
)

// Listen opens the address. It replaces the socket of a process that has ended.
func Listen(address string) (net.Listener, error) {
	path, ok := SocketPath(address)
	if !ok {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a socket on which no process listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket; remove it", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("another process listens on %s", path), c.Close())
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Serve answers requests for /metrics until ctx ends. It closes the listener.
func (m *Metrics) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxConnections}))
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: maxHeaderBytes,
		ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: time.Minute,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// WriteFile replaces a file with the present values, for node_exporter's textfile collector. The
// file is complete at any time.
func (m *Metrics) WriteFile(path string) error {
	return prometheus.WriteToTextfile(path, m.registry)
}

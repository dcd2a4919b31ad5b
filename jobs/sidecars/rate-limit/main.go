// Rate-limit stands in front of an application's HTTP port. It limits each client
// and all clients together by token buckets, and bounds the number of open requests.
//
// It does not queue: a request passes or is refused immediately. It changes no body,
// does not cache and does not terminate TLS. Instances of a job do not share state.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/limit"
)

func main() { program.Main("rate-limit", run) }

func run(ctx context.Context, args []string, _ func(string) string, log io.Writer) error {
	o, err := parseOptions(args, log)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	limiter, err := limit.New(o.client, o.global, o.maxClients)
	if err != nil {
		return err
	}
	registry := prometheus.NewPedanticRegistry()
	counts := newCounts(registry, limiter)
	app := newTransport()
	defer app.CloseIdleConnections()
	gate := newGate(o, limiter, counts, newProxy(o, app, counts, logger))

	listener, err := program.Listen(o.listen)
	if err != nil {
		return err
	}
	admin, err := program.Listen(o.admin)
	if err != nil {
		_ = listener.Close() // no request was accepted yet
		return fmt.Errorf("-admin: %w", err)
	}
	logger.Info("serving", "url", "http://"+listener.Addr().String(), "admin", "http://"+admin.Addr().String(), "app", "http://"+o.app)

	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return serveGate(ctx, listener, gate, logger) })
	both.Go(func() error { return program.Serve(ctx, admin, program.NewServer(newAdmin(registry, logger))) })
	return both.Wait()
}

// serveGate serves until ctx is done and no request is open, then closes upgraded
// connections.
func serveGate(ctx context.Context, listener net.Listener, g *gate, log *slog.Logger) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	err := program.Serve(ctx, listener, &http.Server{
		Handler: g,
		// Body timeouts are left to the application.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return requests },
	})
	cancel()
	g.open.Wait()
	return err
}

// newAdmin serves
//
//	GET /metrics  for Prometheus
//	GET /healthz  200 while the process runs; it does not check the application
func newAdmin(gatherer prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// Rate-limit stands in front of an application's HTTP port and lets each
// client through as often as its token bucket allows, with one bucket for all
// of them and a bound on how many requests are open.
//
// It holds nothing back: a request passes at once or is refused at once. It
// changes no body, caches nothing and ends no TLS. Instances of a job do not
// know of each other.
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
		_ = listener.Close() // nobody was answered yet
		return fmt.Errorf("-admin: %w", err)
	}
	logger.Info("serving", "url", "http://"+listener.Addr().String(), "admin", "http://"+admin.Addr().String(), "app", "http://"+o.app)

	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return serveGate(ctx, listener, gate, logger) })
	both.Go(func() error { return program.Serve(ctx, admin, program.NewServer(newAdmin(registry, logger))) })
	return both.Wait()
}

// serveGate serves until ctx is done and no request is open. Connections that
// were upgraded are ended after the others.
func serveGate(ctx context.Context, listener net.Listener, g *gate, log *slog.Logger) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	err := program.Serve(ctx, listener, &http.Server{
		Handler: g,
		// How long a body may take either way is the application's to say.
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
//	GET /healthz  200 as long as it is there; the application's health is its own to tell
func newAdmin(gatherer prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/nomad-sidecar/nomad-sidecar/templater/adminpage"
	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/tracing"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	headerTimeout = 10 * time.Second
	mostStreams   = 100 // of one connection at once, as RFC 9113 6.5.2 recommends at least
	bodyTimeout   = time.Minute
	askTimeout    = 5 * time.Second // of readyz
	mostDecisions = 500             // that the page shows, and as many denials
	flushTimeout  = 5 * time.Second // for the last spans
)

// server is the proxy with its listeners.
type server struct {
	p           *Program
	options     *serveOptions
	log         *slog.Logger
	upstream    *admission.Upstream
	proxy       *admission.Proxy
	metrics     *admission.Metrics
	registry    *prometheus.Registry
	certificate atomic.Pointer[tls.Certificate] // nil without TLS
	watch       *watch                          // of what load reads
	notReloaded atomic.Pointer[time.Time]       // when the last reload failed; nil after one that did not
	draining    atomic.Bool
	decisions   *adminpage.Decisions
	fleet       *adminpage.Fleet // nil without a token
	tracing     *tracing.Tracing // nil without a collector
	front       *http.Server
	admin       *http.Server
	listeners   map[*http.Server]net.Listener
}

// newServer reads all that is needed and listens.
func (p *Program) newServer(o *serveOptions, r *reporter) (*server, hcl.Diagnostics) {
	s := &server{p: p, options: o, log: slog.New(slog.NewJSONHandler(p.Stdout, nil)), registry: prometheus.NewRegistry(), listeners: map[*http.Server]net.Listener{}}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = admission.NewMetrics(s.registry)
	var err error
	if s.upstream, err = admission.OpenUpstream(o.nomad, api.DefaultConfig().TLSConfig); err != nil {
		return nil, failureOf("Cannot reach Nomad", err)
	}
	s.watch = newWatch(s.files()) // before they are read
	rules, certificate, diags := s.load(r)
	if diags.HasErrors() {
		return nil, diags
	}
	s.certificate.Store(certificate)
	if s.tracing, err = tracing.Open(context.Background(), "nomad-sidecar", p.Version, s.log); err != nil {
		return nil, append(diags, failureOf("Cannot trace", err)...)
	}
	s.decisions = adminpage.NewDecisions(mostDecisions)
	s.proxy = admission.New(admission.Options{
		Upstream: s.upstream, Rules: rules, MaxBodyBytes: o.maxBodyMiB << 20, BodyTimeout: bodyTimeout, Audit: s.log, Metrics: s.metrics,
		Accessors: &admission.Accessors{}, Decided: s.decisions.Add, Tracer: s.tracing.Tracer(admission.SpanScope),
	})
	if s.fleet, err = s.openFleet(); err != nil {
		return nil, append(diags, failureOf("Cannot read the fleet", err)...)
	}
	if err := s.listen(); err != nil {
		return nil, append(diags, failureOf("Cannot listen", err)...)
	}
	return s, diags
}

// load reads what SIGHUP reads anew.
func (s *server) load(r *reporter) (*admission.Rules, *tls.Certificate, hcl.Diagnostics) {
	catalog, diags := s.p.loadCatalog(s.options.catalogs, r)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	rules := &admission.Rules{Catalog: catalog, Region: getenv(s.p.Environ, "NOMAD_REGION")}
	if rules.Region == "" {
		rules.Region = "global"
	}
	if len(s.options.policies) > 0 {
		policy, more := loadPolicy(s.options.policies, catalog, r)
		diags = append(diags, more...)
		rules.Policy = policy
	}
	if s.options.certFile == "" {
		return rules, nil, diags
	}
	certificate, err := tls.LoadX509KeyPair(s.options.certFile, s.options.keyFile)
	if err != nil {
		diags = append(diags, failureOf("Cannot read the certificate", err)...)
	}
	return rules, &certificate, diags
}

// listen opens the listeners; with an error none is left open.
func (s *server) listen() error {
	// No limit for answers: blocking queries, streams and exec take their time.
	s.front = &http.Server{
		Handler: s.proxy, ReadHeaderTimeout: headerTimeout, IdleTimeout: 2 * time.Minute,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: mostStreams},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.admin = &http.Server{ReadHeaderTimeout: headerTimeout}
	config, err := s.tls()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.options.address)
	if err != nil {
		return fmt.Errorf("listen for Nomad's API: %w", err)
	}
	front := l
	if config != nil {
		front = tls.NewListener(l, config)
	}
	s.listeners[s.front] = front
	attrs := []any{slog.String("address", l.Addr().String()), slog.Bool("tls", config != nil), slog.String("nomad", s.upstream.URL.Redacted())}
	if s.options.adminAddress != "" {
		admin, err := net.Listen("tcp", s.options.adminAddress)
		if err != nil {
			return errors.Join(fmt.Errorf("listen for administration: %w", err), l.Close())
		}
		s.listeners[s.admin] = admin
		s.admin.Handler = s.adminHandler(admin.Addr())
		attrs = append(attrs, slog.String("admin", admin.Addr().String()))
	}
	s.log.Info("listening", attrs...)
	return nil
}

// tls is nil without a certificate.
func (s *server) tls() (*tls.Config, error) {
	if s.certificate.Load() == nil {
		return nil, nil
	}
	// A page that follows many things needs HTTP/2, since browsers open few connections.
	// For the WebSocket of exec they open one of HTTP/1.1, as the nomad command does.
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.certificate.Load(), nil
	}}
	if s.options.clientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.options.clientCA)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of clients: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", s.options.clientCA)
	}
	return config, nil
}

func (s *server) adminHandler(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.page(at))
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		if s.draining.Load() {
			http.Error(w, "ending", http.StatusServiceUnavailable)
		} else if err := s.upstream.Answers(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		} else {
			_, _ = io.WriteString(w, "ok\n")
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// health is good also with rules that could not be reloaded: those from before are as
// good as ever.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	text := "ok\n"
	if at := s.notReloaded.Load(); at != nil {
		text += "policy, catalog and certificate are those from before " + at.UTC().Format(time.RFC3339) + ": the ones of then have errors, which stderr tells\n"
	}
	_, _ = io.WriteString(w, text) // who asked may be gone
}

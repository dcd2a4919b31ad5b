package serve

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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/nomad-sidecar/nomad-sidecar/templater/adminpage"
	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
	"github.com/nomad-sidecar/nomad-sidecar/templater/tracing"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	askTimeout    = 5 * time.Second // of readyz
	mostDecisions = 500             // that the page shows, and as many denials
)

// FlushTimeout bounds how long the last spans are sent for, after draining.
const FlushTimeout = 5 * time.Second

// Server is the proxy with its listeners.
type Server struct {
	Options
	log         *slog.Logger
	upstream    *admission.Upstream
	proxy       *admission.Proxy
	metrics     *admission.Metrics
	registry    *prometheus.Registry
	certificate atomic.Pointer[tls.Certificate] // nil without TLS
	watch       *watch                          // of the files that load reads
	notReloaded atomic.Pointer[time.Time]       // when the last reload failed; nil if it succeeded
	draining    atomic.Bool
	working     sync.WaitGroup // requests, those of upgraded connections too
	cut         context.Context
	cutAll      context.CancelFunc
	decisions   *adminpage.Decisions
	fleet       *adminpage.Fleet // nil without a token
	tracing     *tracing.Tracing // nil without a collector
	front       *http.Server
	admin       *http.Server
	listeners   map[*http.Server]net.Listener
}

// Open reads all files and listens.
func Open(o Options) (*Server, error) {
	s := &Server{Options: o, log: slog.New(slog.NewJSONHandler(o.Log, nil)), registry: prometheus.NewRegistry(), listeners: map[*http.Server]net.Listener{}}
	s.cut, s.cutAll = context.WithCancel(context.Background())
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = admission.NewMetrics(s.registry)
	var err error
	if s.upstream, err = admission.OpenUpstream(o.Nomad, api.DefaultConfig().TLSConfig); err != nil {
		return nil, err
	}
	s.watch = newWatch(s.files()) // before they are read
	rules, certificate, err := s.load()
	if err != nil {
		return nil, err
	}
	s.certificate.Store(certificate)
	if s.tracing, err = tracing.Open(context.Background(), "nomad-sidecar", o.Version, s.log); err != nil {
		return nil, err
	}
	limits, err := s.admissionLimits()
	if err != nil {
		return nil, err
	}
	s.decisions = adminpage.NewDecisions(mostDecisions)
	s.proxy = admission.New(admission.Options{
		Upstream: s.upstream, Rules: rules, MaxBodyBytes: o.MaxBodyMiB << 20, BodyTimeout: bodyTimeout, Limits: limits, Audit: s.log, Metrics: s.metrics,
		Accessors: &admission.Accessors{}, Decided: s.decisions.Add, Tracer: s.tracing.Tracer(admission.SpanScope),
	})
	if s.fleet, err = s.openFleet(); err != nil {
		return nil, err
	}
	return s, s.listen(limits.Proxies)
}

// load reads everything that a reload reads.
func (s *Server) load() (*admission.Rules, *tls.Certificate, error) {
	rules, err := s.Rules()
	if err != nil || s.CertFile == "" {
		return rules, nil, err
	}
	certificate, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate: %w", err)
	}
	return rules, &certificate, nil
}

// listen opens the listeners; with an error none is left open.
func (s *Server) listen(proxies limit.Proxies) error {
	s.front, s.admin = s.newFront(), newAdmin()
	s.front.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)
	s.admin.ErrorLog = s.front.ErrorLog
	config, err := s.tls()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for Nomad's API: %w", err)
	}
	s.listeners[s.front] = s.limited(l, config, proxies)
	attrs := []any{slog.String("address", l.Addr().String()), slog.Bool("tls", config != nil), slog.String("nomad", strings.Join(s.upstream.Names(), ", "))}
	if s.AdminAddress != "" {
		admin, err := net.Listen("tcp", s.AdminAddress)
		if err != nil {
			return errors.Join(fmt.Errorf("listen for administration: %w", err), l.Close())
		}
		s.listeners[s.admin] = s.limitedAdmin(admin)
		s.admin.Handler = s.adminHandler(admin.Addr())
		attrs = append(attrs, slog.String("admin", admin.Addr().String()))
	}
	s.log.Info("listening", attrs...)
	return nil
}

// tls is nil without a certificate.
func (s *Server) tls() (*tls.Config, error) {
	if s.certificate.Load() == nil {
		return nil, nil
	}
	// A page that follows many things needs HTTP/2, since browsers open few connections.
	// For the WebSocket of exec they open one of HTTP/1.1, as the nomad command does.
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.certificate.Load(), nil
	}}
	if s.ClientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of clients: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", s.ClientCA)
	}
	return config, nil
}

func (s *Server) adminHandler(at net.Addr) http.Handler {
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
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	text := "ok\n"
	if at := s.notReloaded.Load(); at != nil {
		text += "policy, catalog and certificate are those from before " + at.UTC().Format(time.RFC3339) + ": the ones of then have errors, which stderr tells\n"
	}
	_, _ = io.WriteString(w, text) // who asked may be gone
}

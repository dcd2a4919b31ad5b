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
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nomad-sidecar/nomad-sidecar/templater/adminpage"
	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/limit"
	"github.com/nomad-sidecar/nomad-sidecar/templater/tracing"
)

const (
	askTimeout   = 5 * time.Second // for readyz
	maxDecisions = 500             // shown on the page, with as many denials
)

// FlushTimeout limits sending the last spans after draining.
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
	watch       *watch                          // watches the files that load reads
	notReloaded atomic.Pointer[time.Time]       // time of the last reload if it failed, otherwise nil
	draining    atomic.Bool
	working     sync.WaitGroup // requests, including those on upgraded connections
	cut         context.Context
	cutAll      context.CancelFunc
	decisions   *adminpage.Decisions
	fleet       *adminpage.Fleet // nil without a token
	tracing     *tracing.Tracing // nil without a collector
	front       *http.Server
	admin       *http.Server
	listeners   map[*http.Server]net.Listener
}

// Open reads all files and opens the listeners.
func Open(o Options) (*Server, error) {
	s := &Server{Options: o, log: slog.New(slog.NewJSONHandler(o.Log, nil)), registry: prometheus.NewRegistry(), listeners: map[*http.Server]net.Listener{}}
	s.cut, s.cutAll = context.WithCancel(context.Background())
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = admission.NewMetrics(s.registry)
	var err error
	if s.upstream, err = admission.OpenUpstream(o.Nomad, api.DefaultConfig().TLSConfig); err != nil {
		return nil, err
	}
	s.watch = newWatch(s.files()) // created before the files are read
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
	s.decisions = adminpage.NewDecisions(maxDecisions)
	s.proxy = admission.New(admission.Options{
		Upstream: s.upstream, Rules: rules, MaxBodyBytes: o.MaxBodyMiB << 20, BodyTimeout: bodyTimeout, Limits: limits, Audit: s.log, Metrics: s.metrics,
		Accessors: &admission.Accessors{}, Decided: s.decisions.Add, Tracer: s.tracing.Tracer(admission.SpanScope),
	})
	if s.fleet, err = s.openFleet(); err != nil {
		return nil, err
	}
	return s, s.listen(limits.Proxies)
}

// load reads all files that a reload reads.
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

// listen opens the listeners. On error it leaves none open.
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
			return errors.Join(fmt.Errorf("listen on admin address: %w", err), l.Close())
		}
		s.listeners[s.admin] = s.limitedAdmin(admin)
		s.admin.Handler = s.adminHandler(admin.Addr())
		attrs = append(attrs, slog.String("admin", admin.Addr().String()))
	}
	s.log.Info("listening", attrs...)
	return nil
}

// tls returns nil if no certificate is configured.
func (s *Server) tls() (*tls.Config, error) {
	if s.certificate.Load() == nil {
		return nil, nil
	}
	// A page that follows many streams needs HTTP/2, since browsers limit connections per host.
	// For the WebSocket of exec they open an HTTP/1.1 connection, as the nomad command does.
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.certificate.Load(), nil
	}}
	if s.ClientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read client CA: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s contains no PEM certificate", s.ClientCA)
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
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
		} else if err := s.upstream.Answers(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		} else {
			_, _ = io.WriteString(w, "ok\n")
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// health reports success even if the last reload failed, because the previous rules still work.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	text := "ok\n"
	if at := s.notReloaded.Load(); at != nil {
		text += "policy, catalog and certificate are from before " + at.UTC().Format(time.RFC3339) + ", when a reload failed; see stderr\n"
	}
	_, _ = io.WriteString(w, text) // the client may be gone
}

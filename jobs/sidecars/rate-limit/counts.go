package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/limit"
)

// The values of the label result. No label names a client, since the number of
// clients is unbounded.
const (
	passed             = "passed"
	refusedClient      = "client"
	refusedGlobal      = "global"
	refusedConcurrency = "concurrency"
)

// counts are the metrics that requests update.
type counts struct {
	requests  *prometheus.CounterVec
	open      prometheus.Gauge
	appErrors prometheus.Counter
}

func newCounts(registry prometheus.Registerer, limiter *limit.Limiter) *counts {
	c := &counts{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rate_limit_requests_total",
			Help: "Requests by result: passed, or the limit that refused them.",
		}, []string{"result"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rate_limit_open_requests", Help: "Requests in progress.",
		}),
		appErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rate_limit_app_errors_total", Help: "Passed requests that the application did not answer.",
		}),
	}
	for _, result := range []string{passed, refusedClient, refusedGlobal, refusedConcurrency} {
		c.requests.WithLabelValues(result) // a series that first appears with its first event hides that event from rate()
	}
	registry.MustRegister(c.requests, c.open, c.appErrors,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rate_limit_clients", Help: "Clients with a bucket in memory.",
		}, func() float64 { return float64(limiter.Clients()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "rate_limit_forgotten_clients_total", Help: "Clients evicted to make room for others.",
		}, func() float64 { return float64(limiter.Evicted()) }),
	)
	return c
}

func resultOf(d limit.Decision) string {
	switch d.Refused {
	case limit.Client:
		return refusedClient
	case limit.Global:
		return refusedGlobal
	}
	return passed
}

// Metrics exports the resource usage of the tasks of its pod to Prometheus.
//
// It reads /proc at each scrape and keeps no history. It exports no metrics of single
// processes and has no authentication. It can only read the pod's PID and network
// namespaces.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/metrics/usage"
)

func main() { program.Main("metrics", run) }

// options are the command line.
type options struct {
	listen  string
	allocID bool
	proc    string
}

func run(ctx context.Context, args []string, getenv func(string) string, log io.Writer) error {
	var o options
	fs := flag.NewFlagSet("metrics", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", ":9102", "address to serve HTTP on")
	fs.BoolVar(&o.allocID, "alloc-id", false, "give pod_info the label alloc_id, a new one for each allocation")
	fs.StringVar(&o.proc, "proc", "/proc", "where the proc file system is mounted")
	if err := program.Parse(fs, args, log); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	meter, err := usage.New(o.proc, getenv("NOMAD_ALLOC_ID"))
	if err != nil {
		return err
	}
	collector, err := newCollector(o.proc, meter, podLabels(getenv, o.allocID))
	if err != nil {
		return err
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(collector); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	listener, err := program.Listen(o.listen)
	if err != nil {
		return err
	}
	logger.Info("serving", "url", "http://"+listener.Addr().String()+"/metrics")
	return program.Serve(ctx, listener, program.NewServer(newHandler(registry, logger)))
}

// newHandler serves
//
//	GET /metrics  everything, in the formats of Prometheus
//	GET /healthz  200 if metrics can be read, else 503
func newHandler(gatherer prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	// Fail the scrape instead of exporting partial sums.
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.HTTPErrorOnError,
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := gatherer.Gather(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// podLabels identify the pod. The allocation id is omitted by default, since every
// new label value is a new series in Prometheus.
func podLabels(getenv func(string) string, allocID bool) prometheus.Labels {
	labels := prometheus.Labels{
		"namespace": getenv("NOMAD_NAMESPACE"),
		"job":       getenv("NOMAD_JOB_NAME"),
		"group":     getenv("NOMAD_GROUP_NAME"),
	}
	if allocID {
		labels["alloc_id"] = getenv("NOMAD_ALLOC_ID")
	}
	return labels
}

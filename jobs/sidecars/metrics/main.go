// Metrics serves for Prometheus what the tasks of the pod use that it runs in.
//
// It only looks, when it is asked to: it keeps no history, tells nothing of
// single processes, and asks for no login. What it can see is what the pod's
// PID and network namespaces hold.
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
//	GET /healthz  200 while there is something to show, else 503
func newHandler(gatherer prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	// A sum with parts missing would look like all of it: all or an error.
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

// podLabels name the pod, without what is new for each allocation unless asked
// for: every new value of a label is a series that Prometheus keeps.
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

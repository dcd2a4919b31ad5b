// Topz serves the processes of its pod as an HTML page and as JSON.
//
// It sends no signals, reads no files of other tasks' root file systems, shows no
// environments, keeps no history (the page does, in the browser) and has no
// authentication. It can only read the pod's PID namespace.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
)

func main() { program.Main("topz", run) }

// options are the command line. Each flag defaults to an environment variable.
type options struct {
	listen   string
	interval time.Duration
	proc     string
	passwd   string
}

func parseOptions(args []string, getenv func(string) string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("topz", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", fallback(getenv("TOPZ_LISTEN"), ":8099"), "address to serve HTTP on (TOPZ_LISTEN)")
	interval := fs.String("interval", fallback(getenv("TOPZ_INTERVAL"), "2s"), "time between two samples (TOPZ_INTERVAL)")
	fs.StringVar(&o.proc, "proc", "/proc", "where the proc file system is mounted")
	fs.StringVar(&o.passwd, "passwd", "/etc/passwd", "passwd file with the names of users; others are shown by number")
	if err := program.Parse(fs, args, out); err != nil {
		return o, err
	}
	var err error
	if o.interval, err = time.ParseDuration(*interval); err != nil {
		return o, fmt.Errorf("-interval %q is not a duration: write it like 2s or 500ms", *interval)
	}
	if o.interval < 100*time.Millisecond {
		return o, fmt.Errorf("-interval %s is too short: use 100ms or more", o.interval)
	}
	return o, nil
}

func fallback(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// run serves until ctx is done and returns after all goroutines it started have
// ended.
func run(ctx context.Context, args []string, getenv func(string) string, log io.Writer) error {
	o, err := parseOptions(args, getenv, log)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	sampler, err := newSampler(o.proc, o.passwd, podFromEnv(getenv))
	if err != nil {
		return err
	}
	monitor, err := newMonitor(sampler, o.interval, logger)
	if err != nil {
		return err
	}
	listener, err := program.Listen(o.listen)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sampling := make(chan struct{})
	go func() {
		defer close(sampling)
		monitor.run(ctx)
	}()

	logger.Info("serving", "url", "http://"+listener.Addr().String()+"/")
	err = program.Serve(ctx, listener, program.NewServer(newHandler(monitor)))
	cancel()
	<-sampling
	return err
}

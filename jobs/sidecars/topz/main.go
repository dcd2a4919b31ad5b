// Topz serves the processes of the pod it runs in, as a page for people and as
// JSON for programs.
//
// It only looks: it sends no signal, reads no file of another task's root file
// system, shows no environment, keeps no history and asks for no login. What
// it can see is what the pod's PID namespace holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// shutdownGrace is how long open requests may take to end after a signal; it
// is below Nomad's default kill_timeout of five seconds.
const shutdownGrace = 3 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "topz:", err)
		os.Exit(1)
	}
}

// options are the command line. Each flag has an environment variable that
// gives its default.
type options struct {
	listen   string
	interval time.Duration
	proc     string
	passwd   string
}

func parseOptions(args []string, getenv func(string) string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("topz", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.listen, "listen", fallback(getenv("TOPZ_LISTEN"), ":8099"), "address to serve HTTP on (TOPZ_LISTEN)")
	interval := fs.String("interval", fallback(getenv("TOPZ_INTERVAL"), "2s"), "time between two samples (TOPZ_INTERVAL)")
	fs.StringVar(&o.proc, "proc", "/proc", "where the proc file system is mounted")
	fs.StringVar(&o.passwd, "passwd", "/etc/passwd", "file that names users; numbers are shown for the rest")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: topz takes only flags", fs.Arg(0))
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

// run serves until ctx is done and returns once every goroutine it started
// has ended.
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
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sampling := make(chan struct{})
	go func() {
		defer close(sampling)
		monitor.run(ctx)
	}()

	logger.Info("serving", "url", "http://"+listener.Addr().String()+"/")
	err = serve(ctx, listener, newHandler(monitor))
	cancel()
	<-sampling
	return err
}

// serve answers requests until ctx is done, then lets open ones end.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-served
	if err != nil {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}

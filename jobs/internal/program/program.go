// Package program is what the programs of the catalog have in common: flags
// and signals in, HTTP served until asked to stop, one line and an exit code
// out.
//
// It does not log, and knows neither Nomad nor what the programs are for.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Grace is how long what is open may take to end after a signal; it is below
// Nomad's default kill_timeout of five seconds.
const Grace = 3 * time.Second

// Run is a program, but for what belongs to the process: it works until it is
// done or ctx is, and returns once every goroutine it started has ended.
type Run func(ctx context.Context, args []string, getenv func(string) string, log io.Writer) error

// Main runs a program as this process, and ends it on SIGTERM and SIGINT. The
// exit code is 1 after an error, which goes to stderr behind the name.
func Main(name string, run Run) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}

// Parse parses a command line that has flags only. The usage goes to out.
func Parse(fs *flag.FlagSet, args []string, out io.Writer) error {
	fs.SetOutput(out)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: %s takes only flags", fs.Arg(0), fs.Name())
	}
	return nil
}

// Listen listens on a TCP address such as ":8080".
func Listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// NewServer is a server for pages and numbers: small requests, answered soon.
// One that passes on what others say sets its own bounds.
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}

// Serve answers requests until ctx is done, then lets open ones end within
// Grace. Connections that a handler took over are left to it.
func Serve(ctx context.Context, listener net.Listener, server *http.Server) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), Grace)
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

// Webapp is an application for the examples: it speaks plain HTTP on the
// loopback interface and knows nothing of sidecars, TLS or pods.
//
// It is not an example of a good web server: it does only enough to demonstrate
// requests, logs, signals and the shared directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// shutdownGrace is how long open requests may take to end after a signal; it
// is below Nomad's default kill_timeout of five seconds.
const shutdownGrace = 3 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done. SIGHUP prints "reloaded".
func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	flags := flag.NewFlagSet("webapp", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", "127.0.0.1:8080", "address to serve HTTP on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: webapp takes only -listen", flags.Arg(0))
	}
	if err := greet(getenv("NOMAD_ALLOC_DIR")); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	logger := log.New(out, "", 0)
	logger.Printf("serving http://%s/", listener.Addr())
	if err := serve(ctx, listener, newHandler(logger), hangups, logger); err != nil {
		return err
	}
	logger.Print("stopped")
	return nil
}

// greet writes a file that the other tasks of the allocation can read.
func greet(allocDir string) error {
	if allocDir == "" {
		return nil
	}
	path := filepath.Join(allocDir, "hello.txt")
	if err := os.WriteFile(path, []byte("hello from webapp\n"), 0o644); err != nil {
		return fmt.Errorf("greet the other tasks: %w", err)
	}
	return nil
}

// serve answers requests until ctx is done, then waits for open requests to end.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, hangups <-chan os.Signal, logger *log.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve: %w", err)
		case <-hangups:
			logger.Print("reloaded")
		case <-ctx.Done():
			return shutDown(server, served)
		}
	}
}

// shutDown returns when every request has been answered or cut off.
func shutDown(server *http.Server, served <-chan error) error {
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

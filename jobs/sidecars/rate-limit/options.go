package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/client"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/rate-limit/limit"
)

// options are the command line.
type options struct {
	listen string // address of the limited port
	admin  string // address of health and metrics
	app    string // host and port of the application

	client, global limit.Rate
	maxClients     int
	maxOpen        int // 0 for no bound
	finder         client.Finder
}

func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("rate-limit", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", ":8088", "address to serve HTTP on")
	fs.StringVar(&o.admin, "admin", ":9103", "address to serve health and metrics on")
	fs.StringVar(&o.app, "app", "", "`host:port` of the application")
	fs.Float64Var(&o.client.PerSecond, "rate", 0, "requests per second of one client")
	fs.IntVar(&o.client.Burst, "burst", 0, "requests of one client in a burst (default: one second's requests)")
	fs.Float64Var(&o.global.PerSecond, "global-rate", 0, "requests per second of all clients (default: no limit)")
	fs.IntVar(&o.global.Burst, "global-burst", 0, "requests of all clients in a burst (default: one second's requests)")
	fs.IntVar(&o.maxClients, "max-clients", 10_000, "clients to keep in memory; the least recently seen is evicted first")
	fs.IntVar(&o.maxOpen, "max-concurrent", 0, "maximum concurrent requests (default: no limit)")
	fs.StringVar(&o.finder.Header, "key-header", "", "header that identifies the client instead of its address, if a request has it")
	fs.Func("trusted-proxy", "`address` or network of a proxy that may set X-Forwarded-For; may be repeated", func(s string) error {
		prefix, err := client.ParsePrefix(s)
		o.finder.Trusted = append(o.finder.Trusted, prefix)
		return err
	})
	if err := program.Parse(fs, args, out); err != nil {
		return o, err
	}
	return o, o.check()
}

// check sets default bursts and validates the options.
func (o *options) check() error {
	if host, port, err := net.SplitHostPort(o.app); err != nil || host == "" || port == "" {
		return fmt.Errorf("-app %q is not a host and a port: write it like 127.0.0.1:8080", o.app)
	}
	fillBurst(&o.client)
	if err := o.client.Valid(); err != nil {
		return fmt.Errorf("-rate and -burst: %w", err)
	}
	if o.global != (limit.Rate{}) {
		fillBurst(&o.global)
		if err := o.global.Valid(); err != nil {
			return fmt.Errorf("-global-rate and -global-burst: %w", err)
		}
	}
	if o.maxClients < 1 || o.maxOpen < 0 {
		return errors.New("-max-clients must be 1 or more, and -max-concurrent 0 or more")
	}
	if strings.ContainsAny(o.finder.Header, " :\t") {
		return fmt.Errorf("-key-header %q is not the name of a header: write it like X-Api-Key", o.finder.Header)
	}
	return nil
}

func fillBurst(r *limit.Rate) {
	if r.Burst == 0 && r.PerSecond > 0 {
		r.Burst = int(min(math.Ceil(r.PerSecond), math.MaxInt32))
	}
}

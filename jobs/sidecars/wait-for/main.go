// Wait-for exits with 0 when all given addresses answer. As a prestart task it
// delays an application until its dependencies are reachable.
//
// It waits once: applications must still handle dependencies that fail later. It
// sends only GET requests.
package main

//image:certificates targets may be HTTPS

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/wait-for/target"
)

func main() { program.Main("wait-for", run) }

func run(ctx context.Context, args []string, _ func(string) string, log io.Writer) error {
	targets, p, err := parse(args, log)
	if err != nil {
		return err
	}
	return waitForAll(ctx, targets, p, slog.New(slog.NewTextHandler(log, nil)))
}

// parse reads the command line.
func parse(args []string, out io.Writer) ([]target.Target, pace, error) {
	var (
		p         pace
		addresses []string
		options   target.Options
	)
	fs := flag.NewFlagSet("wait-for", flag.ContinueOnError)
	fs.Func("target", "`address` to wait for; may be repeated: "+target.Forms, func(s string) error {
		addresses = append(addresses, s)
		return nil
	})
	fs.DurationVar(&p.timeout, "timeout", 5*time.Minute, "maximum total wait")
	fs.DurationVar(&p.first, "interval", time.Second, "delay after the first attempt; it doubles with each attempt")
	fs.DurationVar(&p.longest, "max-interval", 15*time.Second, "longest delay between two attempts")
	fs.DurationVar(&p.attempt, "attempt-timeout", 5*time.Second, "timeout of one attempt")
	statuses := fs.String("status", "", "HTTP statuses that count as success, such as 200,204 (default any 2xx)")
	caFile := fs.String("ca-file", "", "PEM `file` of certificate authorities for HTTPS (default the system's)")
	if err := program.Parse(fs, args, out); err != nil {
		return nil, p, err
	}
	if p.timeout <= 0 || p.first <= 0 || p.attempt <= 0 || p.longest < p.first {
		return nil, p, errors.New("-timeout, -interval and -attempt-timeout must be above 0, and -max-interval at least -interval")
	}
	var err error
	if options.Statuses, err = parseStatuses(*statuses); err != nil {
		return nil, p, err
	}
	if options.Roots, err = readRoots(*caFile); err != nil {
		return nil, p, err
	}
	targets, err := parseTargets(addresses, options)
	return targets, p, err
}

func parseTargets(addresses []string, o target.Options) ([]target.Target, error) {
	if len(addresses) == 0 {
		return nil, errors.New("nothing to wait for: set -target to " + target.Forms)
	}
	var targets []target.Target
	for _, address := range addresses {
		t, err := target.Parse(address, o)
		if err != nil {
			return nil, fmt.Errorf("-target: %w", err)
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func parseStatuses(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var statuses []int
	for word := range strings.SplitSeq(list, ",") {
		status, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || status < 100 || status > 599 {
			return nil, fmt.Errorf("-status: %q is not an HTTP status: use numbers from 100 to 599, separated by commas", word)
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}

// readRoots returns nil for the system's certificates if no file is given.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("-ca-file: %s has no certificate in PEM", file)
	}
	return roots, nil
}

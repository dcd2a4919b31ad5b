// Config-reloader keeps the configuration of an application up to date: it
// fetches or renders it, checks it, writes it to the allocation's directory,
// and signals the application when it has changed.
//
// It neither starts nor restarts the application, and does not verify that a
// reload succeeded.
package main

//image:certificates source and values may be HTTPS

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
)

func main() {
	program.Main("config-reloader", func(ctx context.Context, args []string, getenv func(string) string, log io.Writer) error {
		now := make(chan os.Signal, 1)
		signal.Notify(now, syscall.SIGHUP)
		defer signal.Stop(now)
		return run(ctx, args, environment{getenv, os.Environ()}, now, log)
	})
}

// environment is the process's environment: single variables for flags, all of them for
// templates.
type environment struct {
	get func(string) string
	all []string
}

// run checks for changes periodically until ctx is done, and immediately on now.
func run(ctx context.Context, args []string, env environment, now <-chan os.Signal, log io.Writer) error {
	o, err := parseOptions(args, env.get, log)
	if err != nil {
		return err
	}
	r, err := open(o, env, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		return err
	}
	r.log.Info("watching", "source", o.source.shown(), "destination", r.path(), "task", o.target.Task)
	r.run(ctx, now)
	return r.close()
}

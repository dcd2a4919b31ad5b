package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/wait-for/target"
)

// pace is how often and how long something is tried.
type pace struct {
	timeout time.Duration // for all of it
	attempt time.Duration // for one try
	first   time.Duration // between the first two tries; it doubles
	longest time.Duration // between two tries
}

// after gives the pause that follows one.
func (p pace) after(pause time.Duration) time.Duration { return min(2*pause, p.longest) }

// waitForAll returns nil when each target has answered once. They are tried
// side by side, each at its own pace.
func waitForAll(ctx context.Context, targets []target.Target, p pace, log *slog.Logger) error {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	missing := make([]error, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() {
			missing[i] = waitFor(limited, t, p, log.With("target", t.String()))
		})
	}
	all.Wait()

	var silent []string
	for i, err := range missing {
		if err != nil {
			silent = append(silent, fmt.Sprintf("%s: %v", targets[i], err))
		}
	}
	switch {
	case len(silent) == 0:
		log.Info("all answer", "targets", len(targets), "after", round(time.Since(began)))
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("stopped after %s while waiting for %s", round(time.Since(began)), strings.Join(silent, "; "))
	}
	return fmt.Errorf("gave up after %s, no answer from %d of %d: %s", p.timeout, len(silent), len(targets), strings.Join(silent, "; "))
}

// waitFor tries one target until it answers or ctx is done, and then gives the
// last reason why it did not.
func waitFor(ctx context.Context, t target.Target, p pace, log *slog.Logger) error {
	began, pause := time.Now(), p.first
	var last error
	for tries := 1; ; tries++ {
		err := tryOnce(ctx, t, p.attempt)
		if err == nil {
			log.Info("answers", "tries", tries, "after", round(time.Since(began)))
			return nil
		}
		// The end of all waiting is not what is wrong with the target.
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ctx.Err() == nil {
			log.Info("waiting", "why", err, "tries", tries, "next", pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return last
		}
		pause = p.after(pause)
	}
}

func tryOnce(ctx context.Context, t target.Target, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("no answer within "+limit.String()))
	defer cancel()
	return t.Try(ctx)
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

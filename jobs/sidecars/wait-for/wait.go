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

// pace bounds how often and how long targets are tried.
type pace struct {
	timeout time.Duration // for all attempts
	attempt time.Duration // for one attempt
	first   time.Duration // between the first two attempts; it doubles
	longest time.Duration // between two attempts
}

// after returns the pause that follows pause.
func (p pace) after(pause time.Duration) time.Duration { return min(2*pause, p.longest) }

// waitForAll returns nil when each target has answered once. It tries them
// concurrently, each at its own pace.
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

// trier is a target.Target.
type trier interface {
	Try(ctx context.Context) error
}

// waitFor tries one target until it answers or ctx is done, and then returns the
// last reason.
func waitFor(ctx context.Context, t trier, p pace, log *slog.Logger) error {
	began, pause := time.Now(), p.first
	var last error
	for tries := 1; ; tries++ {
		short := endsWithin(ctx, p.attempt)
		err := tryOnce(ctx, t, p.attempt)
		if err == nil {
			log.Info("answers", "tries", tries, "after", round(time.Since(began)))
			return nil
		}
		// The end of ctx is not the target's fault. A socket may time out before ctx reports its end.
		cutOff := ctx.Err() != nil || short && isTimeout(err)
		if !cutOff || last == nil {
			last = err
		}
		if !cutOff {
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

// endsWithin reports whether ctx ends within a time.
func endsWithin(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < d
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func tryOnce(ctx context.Context, t trier, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("no answer within "+limit.String()))
	defer cancel()
	return t.Try(ctx)
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

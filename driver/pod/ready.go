package pod

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Ready configures when a task is ready: when its check passes.
type Ready struct {
	Check

	Interval time.Duration // between two attempts
	Timeout  time.Duration // for all attempts
}

var (
	errEnded    = errors.New("the task ended before it was ready")
	errNotTried = errors.New("no check completed")
)

// awaitReady blocks until the task is ready. It returns an error if the task ends,
// the timeout expires or ctx is done.
func (c *Container) awaitReady(ctx context.Context, r Ready) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	c.event(fmt.Sprintf("Waiting to be ready: %s", r.Check))
	begin := time.Now()
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	last := errNotTried
	for {
		err := c.try(ctx, r.Check)
		if err != nil && ctx.Err() == nil {
			last = err // skip the error of an attempt that was cut off
		}
		if err == nil {
			c.event(fmt.Sprintf("Ready after %s", time.Since(begin).Round(time.Millisecond)))
			return nil
		}
		select {
		case <-c.done:
			return fmt.Errorf("ready: %w: %s; last check, %s: %w", errEnded, c.exit, r.Check, last)
		case <-ctx.Done():
			return fmt.Errorf("ready: %s did not pass within %s: %w", r.Check, r.Timeout, last)
		case <-tick.C:
		}
	}
}

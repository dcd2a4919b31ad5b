// Package programtest runs programs of the catalog inside their tests. It starts
// no process.
package programtest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program"
)

// Patience bounds every wait. It is far longer than any wait should take.
const Patience = time.Minute

// DefaultSignal gives a signal its default action in processes that the test starts. A shell cannot
// trap a signal that it inherits as ignored, such as SIGHUP under nohup.
func DefaultSignal(t *testing.T, s os.Signal) {
	t.Helper()
	received := make(chan os.Signal, 1)
	signal.Notify(received, s) // exec resets caught signals to their defaults
	t.Cleanup(func() { signal.Stop(received) })
}

// Until polls until try returns nil, for at most Patience.
func Until(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not fulfilled after %s: %v", Patience, err)
		}
	}
}

// Output is a log that may be read while it is written. It is safe for concurrent use.
type Output struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write appends to the log.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Wait blocks until a regular expression matches the log and returns its
// submatches.
func (o *Output) Wait(t *testing.T, pattern string) []string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	var match []string
	Until(t, func() error {
		if match = expression.FindStringSubmatch(o.String()); match == nil {
			return fmt.Errorf("no match for %s in the log:\n%s", pattern, o)
		}
		return nil
	})
	return match[1:]
}

// Start runs a program and returns its log. The program is stopped at the end of
// the test and must return nil.
func Start(t *testing.T, run program.Run, env map[string]string, args ...string) *Output {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, done := &Output{}, make(chan error, 1)
	go func() { done <- run(ctx, args, func(k string) string { return env[k] }, log) }()
	t.Cleanup(func() {
		cancel()
		must.NoError(t, <-done)
	})
	return log
}

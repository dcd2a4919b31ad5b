package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"
)

const pollInterval = 50 * time.Millisecond

// Until calls try until it returns nil. If ctx ends first, the error names what and the last
// error of try.
func Until(ctx context.Context, what string, try func() error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		last := try()
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, last)
		}
	}
}

// until is Until that also fails if an agent has exited.
func (a *Agent) until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return Until(ctx, what, func() error {
		err := try()
		if err == nil {
			return nil
		}
		if !a.server.running() || a.client != nil && !a.client.running() {
			cancel()
			err = fmt.Errorf("%w, and Nomad has ended:\n%s", err, a.LogTail(20))
		}
		return err
	})
}

// LogTail returns the last lines of each agent's log.
func (a *Agent) LogTail(lines int) string {
	var text bytes.Buffer
	for _, role := range []string{server, client} {
		fmt.Fprintf(&text, "--- %s.log\n%s\n", role, tail(a.config.logFile(role), lines))
	}
	return text.String()
}

func tail(file string, lines int) []byte {
	log, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	rows := bytes.Split(bytes.TrimRight(log, "\n"), []byte("\n"))
	return bytes.Join(rows[max(0, len(rows)-lines):], []byte("\n"))
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// trace contains the durations of the phases of starts, in order.
type trace struct {
	names []string
	took  map[string][]time.Duration
	total []time.Duration
}

// readTrace reads the driver's trace lines in a client's log.
func readTrace(log io.Reader) (trace, error) {
	t := trace{took: map[string][]time.Duration{}}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, phases, found := strings.Cut(lines.Text(), driver.TraceKey+"=")
		if !found {
			continue
		}
		phases, _, _ = strings.Cut(strings.TrimPrefix(phases, `"`), `"`) // Nomad adds the quotes
		var total time.Duration
		for _, pair := range strings.Split(phases, ",") {
			name, value, _ := strings.Cut(pair, ":")
			took, err := time.ParseDuration(value)
			if err != nil {
				return t, fmt.Errorf("phase %q of a start: %w", pair, err)
			}
			if t.took[name] == nil {
				t.names = append(t.names, name)
			}
			t.took[name] = append(t.took[name], took)
			if !strings.HasPrefix(name, "+") { // phases with "+" ran concurrently
				total += took
			}
		}
		t.total = append(t.total, total)
	}
	return t, lines.Err()
}

func (t trace) String() string {
	var out strings.Builder
	row := func(name string, took []time.Duration) {
		fmt.Fprintf(&out, "  %-10s %8.2f ms\n", name, median(took).Seconds()*1e3)
	}
	for _, name := range t.names {
		row(name, t.took[name])
	}
	row("all", t.total)
	return out.String()
}

// reportTrace prints for each runtime the phases of the starts since the last call.
func reportTrace(out io.Writer, f *field) error {
	for _, c := range f.contestants {
		log, err := os.Open(c.agent.ClientLog())
		if err != nil {
			return err
		}
		if _, err = log.Seek(c.traced, io.SeekStart); err != nil {
			return errors.Join(err, log.Close())
		}
		t, err := readTrace(log)
		end, serr := log.Seek(0, io.SeekCurrent)
		if err := errors.Join(err, serr, log.Close()); err != nil {
			return err
		}
		c.traced = end
		fmt.Fprintf(out, "\n%s: medians of %d starts\n%s\n", c.name, len(t.total), t)
	}
	return nil
}

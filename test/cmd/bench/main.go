// Command bench measures the cost of a task under the pod driver and under its peers, as far as this
// machine can run them: the time to start and to stop, the memory besides the workload, and the CPU
// use of idle tasks. It prints a table and writes it and a chart to files.
//
// All drivers run in one sandbox and in turns, so that other load on the machine affects each of them.
// It compares only results of the same run: figures of different machines are not comparable, and
// none is a guarantee.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

func main() {
	// A terminal also sends an interrupt to the process in the sandbox, which cleans up. This
	// process waits for it.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	os.Exit(sandbox.Run(inside))
}

func inside() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// options are the command-line flags.
type options struct {
	quick bool
	trace bool
	out   string        // output folder
	idle  time.Duration // duration of the CPU measurement
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.quick, "quick", false, "one round, and at most 10 tasks")
	flags.BoolVar(&o.trace, "trace", false, "show the phases of a start instead of comparing drivers")
	flags.StringVar(&o.out, "out", "bin", "`directory` for bench.md and bench.svg")
	flags.DurationVar(&o.idle, "idle", 10*time.Second, "duration of the measurement of idle tasks")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: want flags only", flags.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if why := sandbox.Unavailable(); why != "" {
		return errors.New(why)
	}
	f, err := newField(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(context.WithoutCancel(ctx))) }()
	var results []result
	for _, l := range jobSizes(o) {
		of, err := runAll(ctx, f, l, o.idle, out)
		if err != nil {
			return err
		}
		results = append(results, of...)
		if o.trace {
			if err := reportTrace(out, f); err != nil {
				return err
			}
		}
	}
	if o.trace {
		return nil
	}
	r := report{results: results, left: f.leftOut, machine: describe(f)}
	fmt.Fprint(out, "\n", r.markdown())
	return errors.Join(
		os.WriteFile(filepath.Join(o.out, "bench.md"), []byte(r.markdown()), 0o644),
		os.WriteFile(filepath.Join(o.out, "bench.svg"), []byte(r.svg()), 0o644),
	)
}

// jobSize is the size of a job and the number of its runs by each contestant.
type jobSize struct{ groups, rounds int }

// tasksPerGroup is an application and a sidecar.
const tasksPerGroup = 2

func (l jobSize) tasks() int { return l.groups * tasksPerGroup }

func jobSizes(o options) []jobSize {
	switch {
	case o.quick:
		return []jobSize{{1, 1}, {5, 1}}
	case o.trace:
		return []jobSize{{1, 10}, {5, 3}}
	}
	return []jobSize{{1, 10}, {5, 5}, {10, 3}, {50, 2}}
}

// runAll runs jobs of a size on every contestant, in turns.
func runAll(ctx context.Context, f *field, l jobSize, idle time.Duration, out io.Writer) ([]result, error) {
	var all []result
	for round := range l.rounds {
		for _, c := range f.contestants {
			if l.groups > c.maxGroups || round > 0 && c.once {
				continue
			}
			h := jobRun{contestant: c, jobSize: l, id: fmt.Sprintf("%s-%d-%d", c.driver, l.groups, round)}
			if round == 0 {
				h.idle = idle
			}
			r, err := h.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintln(out, r)
			all = append(all, r)
		}
	}
	return all, nil
}

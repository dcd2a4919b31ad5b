// Command serveload measures the overhead of nomad-sidecar serve for requests with a job. Many clients
// register and plan jobs of several sizes at a real Nomad, in turns: directly, through a bare
// reverse proxy, and through serve. It prints a table of times and the processes' resource use. It
// fails if a request fails, if a stored job is incomplete, or if the memory of serve grows.
//
// All ways send Nomad the same jobs, including sidecars, so that only the way differs. The jobs have a
// count of 0: Nomad stores them and schedules nothing. Figures apply to this machine and run only; none
// is a guarantee.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

func main() {
	if code, ok := asProxy(); ok {
		os.Exit(code)
	}
	interrupts := make(chan os.Signal, 1) // the terminal also interrupts the process in the sandbox
	signal.Notify(interrupts, os.Interrupt)
	os.Exit(sandbox.Run(inside))
}

func inside() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "serveload:", err)
		return 1
	}
	return 0
}

// options are the command-line flags.
type options struct {
	program string // nomad-sidecar, "" for the one built into this program
	clients int
	turns   int
	turn    time.Duration // per way; 0 for one request of each kind per client
	sizes   []int         // numbers of groups
	slow    int           // clients that send or read almost nothing meanwhile
}

func parse(args []string) (options, error) {
	o := options{sizes: []int{1, 10, 100}}
	flags := flag.NewFlagSet("serveload", flag.ContinueOnError)
	flags.StringVar(&o.program, "program", "bin/nomad-sidecar", "`path` of nomad-sidecar")
	flags.IntVar(&o.clients, "clients", 50, "number of clients that send requests concurrently")
	flags.IntVar(&o.turns, "turns", 4, "number of turns of each way")
	flags.IntVar(&o.slow, "slow", 0, "number of slow clients that keep connections to each proxy open meanwhile")
	flags.DurationVar(&o.turn, "turn", 15*time.Second, "duration of a turn")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: want flags only", flags.Arg(0))
	case o.clients < 1 || o.turns < 1 || o.turn <= 0:
		return o, errors.New("-clients, -turns and -turn must be above 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if why := sandbox.Unavailable(); why != "" {
		return errors.New(why)
	}
	nomad, err := agent.FindNomad(".")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "serveload-*")
	if err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	f, err := newField(ctx, o, nomad, dir)
	if err != nil {
		return errors.Join(err, f.close(), os.RemoveAll(dir))
	}
	r, err := f.measure(ctx)
	if err == nil && o.slow == 0 { // above Nomad's limit requests through the bare proxy fail
		err = f.wholeJobs(ctx)
	}
	r.print(out)
	if err == nil {
		err = r.memory.grown()
	}
	return errors.Join(err, f.close(), os.RemoveAll(dir))
}

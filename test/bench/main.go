// Command bench measures what a task costs under the pod driver and under
// raw_exec, on the same agent and in turns, and prints both and their ratio.
//
// It measures the start of two tasks, from "Task Setup" to the last "Started"
// as Nomad's events tell. It compares only what it ran itself: figures of
// different machines are not comparable.
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
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/test/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 10, "how often each driver starts its tasks")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds %d: want at least 1", *rounds)
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, as the Nomad client does: sudo make bench")
	}
	a, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Stop(context.WithoutCancel(ctx))) }()

	drivers := []string{"pod", "raw_exec"}
	times := map[string][]time.Duration{}
	for round := range *rounds {
		for _, driver := range drivers {
			t, err := measure(ctx, a, driver, round)
			if err != nil {
				return err
			}
			times[driver] = append(times[driver], t)
		}
	}
	report(out, times, drivers)
	return nil
}

func start(ctx context.Context) (*agent.Agent, error) {
	repo, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	nomad, err := agent.FindNomad(repo)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nomad-sidecar-bench-")
	if err != nil {
		return nil, err
	}
	a, err := agent.Start(ctx, agent.Options{
		Dir: dir, Nomad: nomad, Plugin: filepath.Join(repo, "bin", "nomad-driver-pod"),
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return a, nil
}

const job = `
job "bench-%[1]s-%[2]d" {
  group "bench" {
    task "one" {
      driver = %[1]q
      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }
      resources {
        cpu    = 20
        memory = 16
      }
    }
    task "two" {
      driver = %[1]q
      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }
      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}`

// measure runs the job of one round, and stops it again.
func measure(ctx context.Context, a *agent.Agent, driver string, round int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	alloc, err := a.RunJob(ctx, fmt.Sprintf(job, driver, round))
	if err != nil {
		return 0, err
	}
	if alloc, err = a.WaitRunning(ctx, alloc.ID); err != nil {
		return 0, err
	}
	if _, _, err := a.Client().Jobs().Deregister(alloc.JobID, false, nil); err != nil {
		return 0, fmt.Errorf("stop job: %w", err)
	}
	if _, err := a.WaitAlloc(ctx, alloc.ID, api.AllocClientStatusComplete); err != nil {
		return 0, err
	}
	return setup(alloc), nil
}

// setup is the time from the first task's set-up to the last one's start.
func setup(alloc *api.Allocation) time.Duration {
	var from, to int64 // nanoseconds
	for _, state := range alloc.TaskStates {
		for _, event := range state.Events {
			if event.Type == api.TaskSetup && (from == 0 || event.Time < from) {
				from = event.Time
			}
			if event.Type == api.TaskStarted {
				to = max(to, event.Time)
			}
		}
	}
	return time.Duration(to - from)
}

func report(out io.Writer, times map[string][]time.Duration, drivers []string) {
	fmt.Fprintln(out, "start of two tasks, from set-up to started:")
	median := map[string]time.Duration{}
	for _, driver := range drivers {
		sorted := slices.Sorted(slices.Values(times[driver]))
		median[driver] = sorted[len(sorted)/2]
		fmt.Fprintf(out, "  %-9s median %4d ms, from %d to %d ms in %d rounds\n", driver,
			median[driver].Milliseconds(), sorted[0].Milliseconds(), sorted[len(sorted)-1].Milliseconds(), len(sorted))
	}
	base := drivers[len(drivers)-1]
	for _, driver := range drivers[:len(drivers)-1] {
		fmt.Fprintf(out, "  %s takes %.2f times as long as %s\n", driver, float64(median[driver])/float64(median[base]), base)
	}
}

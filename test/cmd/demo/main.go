// Command demo demonstrates the two programs: it starts a real Nomad agent with the driver,
// injects sidecars into an example job, runs it, shows the result, and removes everything.
//
// It builds and installs nothing; make demo does that first.
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

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	keep := flags.Bool("keep", false, "leave the agent and the job running until interrupted")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, as the Nomad client does: sudo make demo")
	}
	before, err := scope().Snapshot()
	if err != nil {
		return err
	}
	d, err := start(ctx, out)
	if err != nil {
		return err
	}
	err = d.show(ctx)
	if err == nil && *keep {
		d.wait(ctx)
	}
	if err != nil {
		d.heading("The demo failed; the end of Nomad's logs")
		fmt.Fprintln(out, d.LogTail(40))
	}
	return errors.Join(err, d.cleanUp(context.WithoutCancel(ctx), before))
}

// scope is the scope of the leak check before and after the demo.
func scope() leakcheck.Scope {
	return leakcheck.Scope{
		Dirs:     []string{"/var/lib/cni", "/run/cni", "/var/lib/nomad-driver-pod", "/run/nomad-driver-pod"},
		Cgroups:  []string{"nomad", "nomad.slice", "nomad-driver-pod"},
		Programs: []string{"conmon", "crun", "runc", "catatonit", "nomad", "nomad-driver-po", "webapp", "topz"},
	}
}

// demo is the running agent and the output of the demo.
type demo struct {
	*agent.Agent
	out  io.Writer
	repo string
}

func start(ctx context.Context, out io.Writer) (*demo, error) {
	repo, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	nomad, err := agent.FindNomad(repo)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nomad-sidecar-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{out: out, repo: repo}
	d.heading("Start Nomad with the pod driver")
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	bin := filepath.Join(repo, "bin")
	d.Agent, err = agent.Start(ctx, agent.Options{
		Dir: dir, Nomad: nomad, Plugin: filepath.Join(bin, "nomad-driver-pod"),
		HostPaths: []string{bin + ":/opt/nomad-sidecar/bin"},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return d, d.describeDriver()
}

// wait leaves everything running until the demo is interrupted.
func (d *demo) wait(ctx context.Context) {
	d.heading("Still running; press Ctrl-C to end it")
	fmt.Fprintf(d.out, `  export NOMAD_ADDR=%s
  %s job status web
  %s alloc logs -job -task app web
  %s alloc exec -job -task topz web /bin/sh
  The agents' logs are in %s.
`, d.Address(), d.Nomad(), d.Nomad(), d.Nomad(), d.Dir())
	<-ctx.Done()
}

// cleanUp stops everything and shows that nothing is left.
func (d *demo) cleanUp(ctx context.Context, before leakcheck.Snapshot) error {
	d.heading("Clean up")
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	ctx, cancel = context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := scope().Settle(ctx, before); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	fmt.Fprintln(d.out, "  Nothing is left: no mount, network namespace, cgroup, process or file.")
	return nil
}

func (d *demo) heading(text string) { fmt.Fprintf(d.out, "\n== %s\n", text) }

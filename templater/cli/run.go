package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

type run struct {
	p      *Program
	o      injectOptions
	check  checkIndex
	detach bool
}

func (*run) Synopsis() string { return "Inject sidecars and run the job" }

func (c *run) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("run"))
	c.check = checkIndex{}
	fs.Var(&c.check, "check-index", "`INDEX` Register only if the job's modify index is still this one, as plan printed it; 0 if the job must not exist.")
	fs.BoolVar(&c.detach, "detach", false, "Return after registering the job, and print the ID of its evaluation.")
	return fs
}

func (c *run) Help() string {
	return `Usage: nomad-sidecar run [options] JOB|-

  Injects sidecars, registers the job with Nomad, and follows its deployment until
  it is healthy or has failed. Nomad keeps the file as it was given as the job's
  source, with its sidecar blocks.

` + flagHelp(c) + `
` + clusterHelp + `

  Exit codes: 0 success, 1 an error or a job that did not become healthy, 2 wrong usage.`
}

func (c *run) Run(args []string) int {
	fs, o := c.flags(), &c.o
	if err := o.parse(fs, args); err != nil {
		return c.p.usage(err)
	}
	o.out = "json"
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := c.p.reporter()
	in, diags := c.p.injection(o, r)
	if r.report(diags) {
		return exitError
	}
	job, diags := in.job(o, c.p.Environ)
	if r.report(diags) {
		return exitError
	}
	nomad, err := cluster.Open()
	if err != nil {
		r.report(failureOf("Cannot reach Nomad", err))
		return exitError
	}
	eval, warnings, err := nomad.Register(ctx, job, c.check.index)
	if err != nil {
		r.report(failureOf("Cannot register the job", err))
		return exitError
	}
	if warnings != "" {
		fmt.Fprint(c.p.Stderr, warned(warnings))
	}
	display.Fprintf(c.p.Stdout, "job %q registered\n", job.ID)
	switch {
	case job.Scheduled || eval == "":
		return exitDone
	case c.detach:
		display.Fprintf(c.p.Stdout, "evaluation %s\n", eval)
		return exitDone
	}
	err = nomad.Follow(ctx, job, eval, func(line string) { display.Fprintf(c.p.Stdout, "%s\n", line) })
	switch {
	case ctx.Err() != nil:
		r.report(failure("Interrupted", "The job is registered and goes on; nomad job status "+job.ID+" shows how."))
		return exitError
	case errors.Is(err, cluster.ErrNotHealthy):
		r.report(failure("Job not healthy", sentence(err)+" See nomad job status "+job.ID+"."))
		return exitError
	case err != nil:
		r.report(failureOf("Cannot follow the job", err))
		return exitError
	}
	return exitDone
}

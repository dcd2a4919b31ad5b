package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

type run struct {
	p        *Program
	o        injectOptions
	check    checkIndex
	register cluster.Options
	prefetch prefetchOptions
	detach   bool
}

func (*run) Synopsis() string { return "Inject sidecars and run the job" }

func (c *run) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("run"))
	c.check, c.register = checkIndex{}, cluster.Options{}
	fs.Var(&c.check, "check-index", "`INDEX` Register only if the job's modify index is still this one, as plan printed it; 0 if the job must not exist.")
	fs.BoolVar(&c.detach, "detach", false, "Return after registering the job, and print the ID of its evaluation.")
	fs.IntVar(&c.register.EvalPriority, "eval-priority", 0, "`N` Priority of the evaluation, from 1 to 100. Default is the job's.")
	c.prefetch.declare(fs)
	fs.BoolVar(&c.register.PreserveCounts, "preserve-counts", false, "Keep the counts of the groups that Nomad has.")
	fs.BoolVar(&c.register.PreserveResources, "preserve-resources", false, "Keep the resources of the tasks that Nomad has, also those of sidecars.")
	fs.BoolVar(&c.register.PolicyOverride, "policy-override", false, policyOverrideUsage)
	return fs
}

func (c *run) Help() string {
	return `Usage: nomad-sidecar run [options] JOB|-

  Injects sidecars, registers the job with Nomad, and follows its deployment until
  it is healthy or has failed. Then it prints the addresses of the job's ports, also
  those that sidecars added. Nomad keeps the file as it was given as the job's source,
  with its sidecar blocks.

` + flagHelp(c) + `
` + clusterHelp + `

  Exit codes: 0 success, 1 an error or a job that did not become healthy, 2 wrong usage.`
}

func (c *run) Run(args []string) int {
	fs, o := c.flags(), &c.o
	if err := errors.Join(o.parse(fs, args), c.prefetch.check(fs)); err != nil {
		return c.p.usage(err)
	}
	o.out, o.nomad = "json", true
	ctx, stop := untilInterrupted(interrupts()...)
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
	c.register.CheckIndex = c.check.index
	if c.prefetch.on {
		before, err := nomad.Prefetch(ctx, job, c.check.index, c.prefetch.timeout, func(line string) { display.Fprintf(c.p.Stdout, "%s\n", line) })
		if err != nil {
			r.report(failure("Job not registered", sentence(err)+" Nothing was changed; without -prefetch, the job is registered first."))
			return exitError
		}
		c.register.CheckIndex = &before // others may register the job during the pull
	}
	done, err := nomad.Register(ctx, job, c.register)
	if err != nil {
		r.report(failureOf("Cannot register the job", err))
		return exitError
	}
	if done.Warnings != "" {
		fmt.Fprint(c.p.Stderr, warned(done.Warnings))
	}
	display.Fprintf(c.p.Stdout, "job %q registered\n", job.ID)
	version, diags := c.readBack(ctx, nomad, job, done, in.catalog)
	differs := r.report(diags)
	switch {
	case job.Scheduled || done.Evaluation == "":
	case c.detach:
		display.Fprintf(c.p.Stdout, "evaluation %s\n", done.Evaluation)
	default:
		err = c.follow(ctx, r, nomad, job, done.Evaluation, version)
	}
	switch {
	case ctx.Err() != nil:
		r.report(failure("Interrupted", "The job is registered and continues; check nomad job status "+job.ID+"."))
	case errors.Is(err, cluster.ErrNotHealthy):
		r.report(failure("Job not healthy", sentence(err)+" Check nomad job status "+job.ID+"."))
	case err != nil:
		r.report(failureOf("Cannot follow the job", err))
	case !differs:
		return exitDone
	}
	return exitError
}

// follow waits until the job is healthy, then prints the addresses of its ports.
func (c *run) follow(ctx context.Context, r *reporter, nomad *cluster.Cluster, job *cluster.Job, evaluation string, version uint64) error {
	line := func(text string) { display.Fprintf(c.p.Stdout, "%s\n", text) }
	if err := nomad.Follow(ctx, job, evaluation, version, line); err != nil {
		return err
	}
	addresses, err := nomad.Addresses(ctx, job, version)
	if err != nil {
		r.report(warning("Addresses unknown", sentence(err))) // the job is healthy
	}
	for _, text := range addresses {
		line(text)
	}
	return nil
}

// readBack returns the registered version of the job, 0 if it is unknown, and checks that it has the
// sidecars that were sent.
func (c *run) readBack(ctx context.Context, nomad *cluster.Cluster, sent *cluster.Job, done *cluster.Registered, catalog *sidecar.Catalog) (version uint64, diags hcl.Diagnostics) {
	now, err := nomad.ReadBack(ctx, sent)
	if err != nil {
		return 0, warning("Registered job not checked", sentence(err)) // the token may not read jobs
	}
	var is struct{ Version, JobModifyIndex uint64 }
	if err := json.Unmarshal(now, &is); err == nil && is.JobModifyIndex <= done.ModifyIndex {
		version = is.Version // otherwise the job was registered again since
	}
	wrong, err := fleet.Compare(sent.JSON, now)
	if err != nil {
		return version, failureOf("Cannot check the registered job", err)
	}
	if wrong != "" {
		return version, failure("Registered with other sidecars", "In the registered job "+wrong+". "+fleet.Cause(catalog, nomad.Header(admission.CatalogHeader)))
	}
	if !c.register.PreserveResources {
		return version, nil
	}
	kept, err := fleet.KeptResources(sent.JSON, now)
	if err == nil && len(kept) > 0 {
		diags = warning("Sidecars keep old resources", "-preserve-resources keeps the resources of the version before for "+strings.Join(kept, ", ")+", instead of those that the sidecar's definition sets.")
	}
	return version, diags
}

package cli

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"syscall"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// clusterHelp is the help that the commands for a cluster share.
const clusterHelp = `
  NOMAD_ADDR, NOMAD_TOKEN, NOMAD_NAMESPACE, NOMAD_REGION, NOMAD_CACERT and similar
  variables select the Nomad, as for the nomad command. Region and namespace of the
  job override these.`

type planCommand struct {
	p              *Program
	o              injectOptions
	policyOverride bool
}

func (*planCommand) Synopsis() string { return "Show what running an injected job would change" }

func (c *planCommand) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("plan"))
	fs.BoolVar(&c.policyOverride, "policy-override", false, policyOverrideUsage)
	return fs
}

func (c *planCommand) Help() string {
	return `Usage: nomad-sidecar plan [options] JOB|-

  Injects sidecars and asks Nomad what registering the job would change: the diff,
  the tasks that restart, what the sidecars add, and what could not be placed.

` + flagHelp(c) + `
` + clusterHelp + `

  Exit codes: 0 no allocations created or destroyed, 1 some are, 255 an error.`
}

func (c *planCommand) Run(args []string) int {
	fs, o := c.flags(), &c.o
	if err := o.parse(fs, args); err != nil {
		c.p.usage(err)
		return exitFailed
	}
	o.out, o.nomad = "json", true
	ctx, stop := untilInterrupted(os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := c.p.reporter()
	in, diags := c.p.injection(o, r)
	if r.report(diags) {
		return exitFailed
	}
	job, diags := in.job(o, c.p.Environ)
	if r.report(diags) {
		return exitFailed
	}
	nomad, err := cluster.Open()
	if err != nil {
		r.report(failureOf("Cannot reach Nomad", err))
		return exitFailed
	}
	plan, err := nomad.Plan(ctx, job, c.policyOverride)
	if err != nil {
		r.report(failureOf("Cannot plan the job", err))
		return exitFailed
	}
	r.report(c.checkPlan(ctx, nomad, job, plan, in.catalog))
	if c.p.write(r, r.redact([]byte(c.text(in, job, plan)))) != exitDone {
		return exitFailed
	}
	if cluster.Changes(plan) {
		return exitChanged
	}
	return exitSame
}

// checkPlan returns a warning if Nomad planned the job with other sidecars than those that were sent.
func (c *planCommand) checkPlan(ctx context.Context, nomad *cluster.Cluster, sent *cluster.Job, plan *api.JobPlanResponse, catalog *sidecar.Catalog) hcl.Diagnostics {
	now, err := nomad.ReadBack(ctx, sent)
	if err != nil && !errors.Is(err, cluster.ErrNoJob) {
		return warning("Plan not checked", sentence(err)) // the token may not read jobs
	}
	wrong, err := fleet.ComparePlan(sent.JSON, now, taskChanges(plan))
	switch {
	case err != nil:
		return warning("Plan not checked", sentence(err))
	case wrong != "":
		return warning("Planned with other sidecars", "In the planned job "+wrong+". "+fleet.Cause(catalog, nomad.Header(admission.CatalogHeader)))
	}
	return nil
}

func (c *planCommand) text(in *injection, job *cluster.Job, plan *api.JobPlanResponse) string {
	var out strings.Builder
	if plan.Diff != nil {
		out.WriteString(jobDiff(plan.Diff, c.p.colourful()))
	}
	if job.Parent {
		out.WriteString("\nNo tasks restart: the job only starts others, which have the change from then on.\n")
	} else {
		out.WriteString("\nTasks:\n")
		for _, g := range cluster.Effects(plan, in.taskNames()) {
			for _, t := range g.Tasks {
				display.Fprintf(&out, "  %s/%s: %s\n", g.Group, t.Task, effectText(t))
			}
		}
	}
	totals := in.Totals()
	if len(totals) > 0 {
		out.WriteString("\nThe sidecars add:\n")
		for _, t := range totals {
			display.Fprintf(&out, "  to each allocation of group %q: %s\n", t.Group, resourcesText(t))
		}
		display.Fprintf(&out, "  to the job: %s\n", resourcesText(templater.Total{Resources: templater.Sum(totals)}))
	}
	if !job.Parent {
		for _, line := range cluster.Failures(plan.FailedTGAllocs) {
			display.Fprintf(&out, "\n%s\n", line)
		}
	}
	if plan.Warnings != "" {
		out.WriteString("\n" + warned(plan.Warnings))
	}
	display.Fprintf(&out, "\nJob modify index: %d. To register the job only if this index has not changed:\n  nomad-sidecar run -check-index %d …\n", plan.JobModifyIndex, plan.JobModifyIndex)
	return out.String()
}

// effectText describes what happens to a task, and whether its own change causes it.
func effectText(t cluster.TaskEffect) string {
	switch {
	case t.Effect == cluster.Destructive && t.Own == cluster.Destructive:
		return "restarts: its change is destructive"
	case t.Effect == cluster.Destructive:
		return "restarts with its allocation, because of another change in the group"
	case t.Effect == cluster.InPlace:
		return "changed in place, continues to run"
	case t.Effect == cluster.None:
		return "not changed"
	}
	return string(t.Effect)
}

// warned formats a warning of Nomad, indenting all lines but the first.
func warned(text string) string {
	return "Nomad warns: " + indented(display.Text(strings.TrimSpace(text))) + "\n"
}

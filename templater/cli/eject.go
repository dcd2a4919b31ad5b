package cli

import (
	"bytes"
	"flag"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

type eject struct{ p *Program }

func (*eject) Synopsis() string { return "Remove injected sidecars from a job" }

func (c *eject) flags() *flag.FlagSet { return (&upgrade{p: c.p, eject: true}).flags() }

func (c *eject) Help() string {
	return `Usage: nomad-sidecar eject [options] JOB|-
       nomad-sidecar eject -fleet [options] [JOB]…

  Reads an injected job, in HCL or JSON, and writes the original job to stdout. A
  job without sidecars is not changed. The injected parts are identified in HCL by
  the comments that begin with #sidecar, and in JSON by the meta of the injected
  tasks, which is checked against the catalog.

  With -fleet it removes all sidecars from running jobs of a cluster: those named, or
  those that the filters select. Like upgrade, it first prints the jobs that change,
  the tasks that restart, and the sidecars that meta or policy would inject again.
  Then it asks for confirmation and registers the jobs in batches, each when the
  previous one is healthy. It stops at the first unhealthy job. Run the command again
  to continue. Without -state it is a dry run.

` + flagHelp(c) + `
` + fleetNomadHelp + `

  Exit codes: 0 success, 1 an error in the input or, with -fleet, unfinished jobs,
  2 wrong usage.`
}

func (c *eject) Run(args []string) int {
	if slices.ContainsFunc(args, func(a string) bool { return a == "-fleet" || a == "--fleet" }) {
		return (&upgrade{p: c.p, eject: true}).Run(args)
	}
	var dirs texts
	fs := newFlags("eject")
	fs.Var(&dirs, "catalog", catalogUsage)
	rest, err := parse(fs, args)
	if err != nil {
		return c.p.usage(err)
	}
	if len(rest) != 1 {
		return c.p.usage(fmt.Errorf("eject takes one job file, or - for stdin; see nomad-sidecar eject -help"))
	}
	r := c.p.reporter()
	out, diags := c.eject(rest[0], dirs, r)
	if r.report(diags) {
		return exitError
	}
	return c.p.writeData(r, out)
}

func (c *eject) eject(path string, dirs []string, r *reporter) ([]byte, hcl.Diagnostics) {
	src, name, err := c.p.read(path)
	if err != nil {
		return nil, failureOf("Cannot read the job", err)
	}
	r.know(sourceOf(name, src))
	if !isJSON(src) {
		return ejectHCL(src, name, r)
	}
	catalog, diags := c.p.loadCatalog(dirs, r)
	if diags.HasErrors() {
		return nil, diags
	}
	f, diags := jsonjob.Parse(src, name, catalog)
	if f == nil {
		return nil, diags
	}
	diags = append(diags, job.Altered(f.Marks())...)
	if diags.HasErrors() {
		return nil, diags
	}
	diags = append(diags, templater.Doubts(f.Marks(), catalog)...)
	out, more := f.Original()
	return out, append(diags, more...)
}

// ejectHCL also refuses tasks with marks but without the comments of their injection, which some
// tools strip. A file with an error that concerns its job only is ejected nevertheless.
func ejectHCL(src []byte, name string, r *reporter) ([]byte, hcl.Diagnostics) {
	out, diags := hcljob.Eject(src, name)
	if diags.HasErrors() {
		return nil, diags
	}
	if f, _ := hcljob.Parse(src, name, hcljob.Inputs{}); f != nil {
		r.know(f.Files())
		diags = append(diags, templater.Unrecognized(f.Job())...)
	}
	return out, diags
}

// isJSON reports whether a job is JSON instead of HCL.
func isJSON(src []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(src), []byte("{")) }

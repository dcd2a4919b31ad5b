package cli

import "flag"

type inject struct {
	p *Program
	o injectOptions
}

func (*inject) Synopsis() string { return "Inject sidecars into a job file" }

func (c *inject) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("inject"))
	fs.StringVar(&c.o.out, "out", "", "`hcl|json` Form of the output. Default is the form of the input.")
	return fs
}

func (c *inject) Help() string {
	return `Usage: nomad-sidecar inject [options] JOB|-

  Reads a job, in HCL or in the JSON of Nomad's API, injects the sidecars that are
  chosen for its groups, and writes it to stdout for "nomad job run". Sidecars are
  chosen by sidecar blocks in the job, by meta ("sidecar.inject"), or by -with.

` + flagHelp(c) + `

  With -out json, the Nomad of NOMAD_ADDR, if it is set, parses a job that has fields
  of a newer Nomad than this program knows.

  Exit codes: 0 success, 1 an error in the input, 2 wrong usage.`
}

func (c *inject) Run(args []string) int {
	fs, o := c.flags(), &c.o
	if err := o.parse(fs, args); err != nil {
		return c.p.usage(err)
	}
	r := c.p.reporter()
	in, diags := c.p.injection(o, r)
	if r.report(diags) {
		return exitError
	}
	return c.p.writeData(r, in.Output)
}

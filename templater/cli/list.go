package cli

import (
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

type list struct {
	p        *Program
	catalogs texts
}

func (*list) Synopsis() string { return "List the sidecars of the catalog" }

func (c *list) flags() *flag.FlagSet {
	fs := newFlags("list")
	c.catalogs = nil
	fs.Var(&c.catalogs, "catalog", catalogUsage)
	return fs
}

func (c *list) Help() string {
	return `Usage: nomad-sidecar list [-catalog DIR]...

  Lists the sidecars of the catalog: name, version and summary.

` + flagHelp(c)
}

func (c *list) Run(args []string) int {
	rest, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	if len(rest) > 0 {
		return c.p.usage(fmt.Errorf("list takes no arguments, but got %q", rest[0]))
	}
	r := c.p.reporter()
	catalog, diags := c.p.loadCatalog(c.catalogs, r)
	if r.report(diags) {
		return exitError
	}
	w := tabwriter.NewWriter(c.p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSION\tSUMMARY")
	for _, d := range catalog.Definitions() {
		summary := d.Summary
		if d.Deprecated != "" {
			summary = strings.TrimSpace("Deprecated: " + d.Deprecated + " " + summary)
		}
		display.Fprintf(w, "%s\t%s\t%s\n", d.Name, d.Version, summary)
	}
	if err := w.Flush(); err != nil {
		r.report(failureOf("Cannot write", err))
		return exitError
	}
	return exitDone
}

package cli

import (
	"flag"
	"fmt"
	"text/tabwriter"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

type list struct{ p *Program }

func (*list) Synopsis() string { return "List the sidecars of the catalog" }

func (*list) Help() string {
	return `Usage: nomad-sidecar list [-catalog DIR]...

  Lists the sidecars of the catalog: name, version and summary.

  -catalog DIR   Folder of definitions, or an address that get has fetched; may be
                 repeated. Default is NOMAD_SIDECAR_CATALOG, then the built-in
                 catalog.`
}

func (c *list) Run(args []string) int {
	var dirs texts
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	flags.Var(&dirs, "catalog", "")
	rest, err := parse(flags, args)
	if err != nil {
		return c.p.usage(err)
	}
	if len(rest) > 0 {
		return c.p.usage(fmt.Errorf("list takes no arguments, but got %q", rest[0]))
	}
	r := c.p.reporter()
	catalog, diags := c.p.loadCatalog(dirs, r)
	if r.report(diags) {
		return exitError
	}
	w := tabwriter.NewWriter(c.p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSION\tSUMMARY")
	for _, d := range catalog.Definitions() {
		display.Fprintf(w, "%s\t%s\t%s\n", d.Name, d.Version, d.Summary)
	}
	if err := w.Flush(); err != nil {
		r.report(failureOf("Cannot write", err))
		return exitError
	}
	return exitDone
}

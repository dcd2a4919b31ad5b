package cli

import (
	"flag"
	"fmt"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecardoc"
)

type docs struct {
	p        *Program
	catalogs texts
	format   string
}

func (*docs) Synopsis() string { return "Write the documentation of sidecars" }

func (c *docs) flags() *flag.FlagSet {
	fs := newFlags("docs")
	c.catalogs = nil
	fs.Var(&c.catalogs, "catalog", catalogUsage)
	fs.StringVar(&c.format, "format", "text", "`text|markdown|html` Form of the output. Default is text. The HTML is one self-contained page.")
	return fs
}

func (c *docs) Help() string {
	return `Usage: nomad-sidecar docs [options] [NAME[@CONSTRAINT]]...

  Writes what definitions say about themselves to stdout: parameters, API surface,
  requirements, resources, an example. Without a NAME the newest version of every
  sidecar of the catalog.

` + flagHelp(c)
}

func (c *docs) Run(args []string) int {
	names, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	if c.format != "text" && c.format != "markdown" && c.format != "html" {
		return c.p.usage(fmt.Errorf("-format must be text, markdown or html, not %q", c.format))
	}
	r := c.p.reporter()
	catalog, diags := c.p.loadCatalog(c.catalogs, r)
	if r.report(diags) {
		return exitError
	}
	pages, diags := pagesOf(catalog, names)
	if r.report(diags) {
		return exitError
	}
	var out []byte
	switch c.format {
	case "html":
		if out, err = sidecardoc.HTML(pages); err != nil {
			r.report(failureOf("Cannot write the page", err))
			return exitError
		}
	case "markdown":
		out = []byte(sidecardoc.Markdown(pages))
	default:
		out = []byte(sidecardoc.Text(pages, c.p.colourful()))
	}
	return c.p.write(r, out)
}

// pagesOf documents the named definitions, or the newest version of each.
func pagesOf(catalog *sidecar.Catalog, names []string) ([]*sidecardoc.Page, hcl.Diagnostics) {
	if len(names) == 0 {
		names = catalog.Names()
	}
	var pages []*sidecardoc.Page
	var diags hcl.Diagnostics
	for _, n := range names {
		name, constraint, _ := strings.Cut(n, "@")
		var constraints []version.Constraints
		if constraint != "" {
			parsed, err := version.NewConstraint(constraint)
			if err != nil {
				diags = append(diags, failure("Invalid version constraint", fmt.Sprintf("%q is not a version constraint such as \"~> 1.0\".", constraint))...)
				continue
			}
			constraints = append(constraints, parsed)
		}
		d := catalog.Find(name, constraints...)
		if d == nil {
			diags = append(diags, failure("Unknown sidecar", fmt.Sprintf("The catalog has no sidecar %q. It has: %s.", n, strings.Join(catalog.Names(), ", ")))...)
			continue
		}
		pages = append(pages, sidecardoc.New(d))
	}
	return pages, diags
}

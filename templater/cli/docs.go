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
	fs.StringVar(&c.format, "format", "text", "`text|markdown|html` Form of the output. Default is text. The HTML is one self-contained page; of several sidecars it has an index, search, and a view of each sidecar.")
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
	definitions, diags := definitionsOf(catalog, names)
	if r.report(diags) {
		return exitError
	}
	out, err := c.render(catalog, definitions)
	if err != nil {
		r.report(failureOf("Cannot write the documentation", err))
		return exitError
	}
	return c.p.write(r, out)
}

func (c *docs) render(catalog *sidecar.Catalog, definitions []*sidecar.Definition) ([]byte, error) {
	if c.format == "html" && len(definitions) != 1 {
		return site(catalog, definitions)
	}
	var pages []*sidecardoc.Page
	for _, d := range definitions {
		pages = append(pages, sidecardoc.New(d))
	}
	switch {
	case c.format == "html":
		return sidecardoc.HTML(pages[0])
	case c.format == "markdown":
		return []byte(sidecardoc.Markdown(pages)), nil
	}
	return []byte(sidecardoc.Text(pages, c.p.colourful())), nil
}

// site documents definitions with their READMEs and the history of their versions.
func site(catalog *sidecar.Catalog, definitions []*sidecar.Definition) ([]byte, error) {
	var entries []*sidecardoc.Entry
	for _, d := range definitions {
		readme, err := catalog.Beside(d, "README.md", sidecardoc.ReadmeBytes)
		if err != nil {
			return nil, fmt.Errorf("sidecar %q: %w", d.Name, err)
		}
		entries = append(entries, sidecardoc.NewEntry(d, catalog.Versions(d.Name), readme))
	}
	return sidecardoc.Site(entries)
}

// definitionsOf returns the named definitions, or the newest version of each.
func definitionsOf(catalog *sidecar.Catalog, names []string) ([]*sidecar.Definition, hcl.Diagnostics) {
	if len(names) == 0 {
		names = catalog.Names()
	}
	var out []*sidecar.Definition
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
		out = append(out, d)
	}
	return out, diags
}

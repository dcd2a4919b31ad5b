package cli

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecartest"
)

type lint struct {
	p        *Program
	catalogs texts
	json     bool
}

func (*lint) Synopsis() string { return "Check sidecar definitions" }

func (c *lint) flags() *flag.FlagSet {
	fs := newFlags("lint")
	c.catalogs = nil
	fs.Var(&c.catalogs, "catalog", catalogUsage)
	fs.BoolVar(&c.json, "json", false, "Write the problems to stdout, in the form of \"terraform validate -json\".")
	return fs
}

func (c *lint) Help() string {
	return `Usage: nomad-sidecar lint [-json] [-catalog DIR]... [PATH]...

  Checks definitions: files, or all definitions below folders; without a PATH those of
  the catalog. The examples of each are injected into a job. The exit code is 1 on
  errors, but not on warnings.

` + flagHelp(c)
}

func (c *lint) Run(args []string) int {
	paths, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	r := c.p.reporter()
	var catalog *sidecar.Catalog
	var diags hcl.Diagnostics
	if len(paths) > 0 {
		catalog, diags = loadPaths(paths)
	} else {
		catalog, diags = c.p.loadCatalog(c.catalogs, r)
	}
	for _, d := range catalog.Definitions() {
		diags = slices.Concat(diags, d.Lint(), catalog.LintUses(d), sidecartest.CheckExamples(d, catalog))
	}
	if len(catalog.Files()) == 0 && !diags.HasErrors() {
		diags = append(diags, failure("Nothing to check", fmt.Sprintf("No file ending in %s was found.", sidecar.Suffix))...)
	}
	if c.json {
		return c.p.writeLint(diags)
	}
	r.know(catalog.Files())
	if r.report(diags) {
		return exitError
	}
	display.Fprintf(c.p.Stdout, "%d definitions, %d warnings\n", len(catalog.Definitions()), len(diags))
	return exitDone
}

// loadPaths reads definitions from files and folders.
func loadPaths(paths []string) (*sidecar.Catalog, hcl.Diagnostics) {
	catalog := &sidecar.Catalog{}
	var diags hcl.Diagnostics
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			diags = append(diags, failureOf("Cannot read definition", err)...)
			continue
		}
		if info.IsDir() {
			diags = append(diags, catalog.Load(os.DirFS(path), filepath.ToSlash(path))...)
			continue
		}
		dir, name := filepath.Split(path)
		if dir == "" {
			dir = "."
		}
		diags = append(diags, catalog.Load(oneFile{os.DirFS(dir), name}, filepath.ToSlash(filepath.Clean(dir)))...)
	}
	return catalog, diags
}

// oneFile is a folder reduced to one file.
type oneFile struct {
	fs.FS
	name string
}

func (o oneFile) ReadDir(string) ([]fs.DirEntry, error) {
	info, err := fs.Stat(o.FS, o.name)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}

package cli

import (
	"flag"
	"fmt"
	"regexp"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecartest"
)

type test struct {
	p        *Program
	catalogs texts
	pattern  string
	update   bool
}

func (*test) Synopsis() string { return "Run the tests of definitions and policies" }

func (c *test) flags() *flag.FlagSet {
	fs := newFlags("test")
	c.catalogs = nil
	fs.Var(&c.catalogs, "catalog", catalogUsage)
	fs.StringVar(&c.pattern, "run", "", "`REGEXP` Only tests whose name matches.")
	fs.BoolVar(&c.update, "update", false, "Rewrite golden files that differ.")
	return fs
}

func (c *test) Help() string {
	return `Usage: nomad-sidecar test [options] [PATH]...

  Runs the tests in all files *.sidecartest.hcl and *.policytest.hcl below the paths,
  by default the working folder. Each injects the sidecar of the folder above its own
  into a job, or what the policy of that folder chooses, and compares the outcome to
  what it expects. No Nomad is needed.

` + flagHelp(c) + `

  Exit codes: 0 all passed, 1 a test failed or cannot be read, 2 wrong usage.`
}

func (c *test) Run(args []string) int {
	paths, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	only, err := regexp.Compile(c.pattern)
	if err != nil {
		return c.p.usage(fmt.Errorf("-run is a regular expression: %w", err))
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	r := c.p.reporter()
	others, diags := c.p.loadCatalog(c.catalogs, r)
	if r.report(diags) {
		return exitError
	}
	tests, diags := loadTests(paths, r)
	if r.report(diags) {
		return exitError
	}
	return c.run(tests, only, others, c.update)
}

func (c *test) run(tests []*sidecartest.Test, only *regexp.Regexp, others *sidecar.Catalog, update bool) int {
	passed, failed := 0, 0
	for _, t := range tests {
		if !only.MatchString(t.Name) {
			continue
		}
		t.ParseJob = nomadParser(false, c.p.Environ)
		failures := t.Run(others, update)
		if len(failures) == 0 {
			passed++
			by := ""
			if t.ParsedByNomad() {
				by = " (parsed by Nomad)"
			}
			display.Fprintf(c.p.Stdout, "ok    %s: %s%s\n", t.Of, t.Name, by)
			continue
		}
		failed++
		display.Fprintf(c.p.Stdout, "FAIL  %s: %s (%s:%d)\n", t.Of, t.Name, t.Range.Filename, t.Range.Start.Line)
		for _, f := range failures {
			display.Fprintf(c.p.Stdout, "      %s\n", f)
		}
	}
	display.Fprintf(c.p.Stdout, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return exitError
	}
	return exitDone
}

// loadTests reads the tests below paths.
func loadTests(paths []string, r *reporter) ([]*sidecartest.Test, hcl.Diagnostics) {
	var tests []*sidecartest.Test
	var diags hcl.Diagnostics
	for _, path := range paths {
		files, err := sidecartest.Find(path)
		if err != nil {
			diags = append(diags, failureOf("Cannot find tests", err)...)
			continue
		}
		for _, file := range files {
			more, sources, wrong := sidecartest.Load(file)
			r.know(sources)
			tests, diags = append(tests, more...), append(diags, wrong...)
		}
	}
	if len(tests) == 0 && !diags.HasErrors() {
		diags = append(diags, failure("No tests", fmt.Sprintf("No file ending in %s or %s was found. nomad-sidecar init creates an example.", sidecartest.Suffix, sidecartest.PolicySuffix))...)
	}
	return tests, diags
}

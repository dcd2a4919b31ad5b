package cli

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecartest"
)

type format struct {
	p     *Program
	check bool
}

func (*format) Synopsis() string { return "Format definitions, policies and their tests" }

func (c *format) flags() *flag.FlagSet {
	fs := newFlags("fmt")
	fs.BoolVar(&c.check, "check", false, "Change nothing; the exit code is 1 if a file would change.")
	return fs
}

func (c *format) Help() string {
	return `Usage: nomad-sidecar fmt [-check] [PATH|-]...

  Formats definitions, policies and their tests like nomad fmt: files, or all files
  below folders, by default the working directory. The names of changed files are
  printed. With - stdin is formatted to stdout.

` + flagHelp(c)
}

func (c *format) Run(args []string) int {
	paths, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	r := c.p.reporter()
	if len(paths) == 1 && paths[0] == "-" {
		return c.stdin(r, c.check)
	}
	changed := false
	var diags hcl.Diagnostics
	for _, path := range paths {
		files, err := ourFiles(path)
		if err != nil {
			diags = append(diags, failureOf("Cannot read", err)...)
		}
		for _, file := range files {
			did, more := c.file(file, c.check, r)
			changed = changed || did
			diags = append(diags, more...)
		}
	}
	if r.report(diags) || (c.check && changed) {
		return exitError
	}
	return exitDone
}

// ourFiles returns the definitions, policies and tests below a folder, or the file itself.
func ourFiles(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (p == path || strings.HasSuffix(p, sidecar.Suffix) || strings.HasSuffix(p, policy.Suffix) || sidecartest.IsTests(p)) {
			files = append(files, p)
		}
		return err
	})
	return files, err
}

func (c *format) file(path string, check bool, r *reporter) (changed bool, diags hcl.Diagnostics) {
	src, err := os.ReadFile(path)
	if err != nil {
		return false, failureOf("Cannot read", err)
	}
	out, diags := layOut(src, path, r)
	if diags.HasErrors() || bytes.Equal(src, out) {
		return false, diags
	}
	display.Fprintf(c.p.Stdout, "%s\n", path)
	if check {
		return true, diags
	}
	info, err := os.Stat(path)
	if err == nil {
		err = os.WriteFile(path, out, info.Mode().Perm())
	}
	if err != nil {
		return true, failureOf("Cannot write", err)
	}
	return true, diags
}

func (c *format) stdin(r *reporter, check bool) int {
	src, name, err := c.p.read("-")
	if err != nil {
		r.report(failureOf("Cannot read", err))
		return exitError
	}
	out, diags := layOut(src, name, r)
	if r.report(diags) {
		return exitError
	}
	if !check {
		return c.p.writeData(r, out)
	}
	if !bytes.Equal(src, out) {
		return exitError
	}
	return exitDone
}

// layOut formats HCL without syntax errors.
func layOut(src []byte, name string, r *reporter) ([]byte, hcl.Diagnostics) {
	if bad := bounds.HCL(src, name, bounds.DefinitionBytes); bad != nil {
		r.know(sourceOf(name, src))
		return nil, hcl.Diagnostics{bad}
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	r.know(map[string]*hcl.File{name: file})
	if diags.HasErrors() {
		return nil, diags
	}
	return hclwrite.Format(src), diags
}

package cli

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecardoc"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecartest"
)

//go:embed scaffold
var scaffold embed.FS

type initCommand struct {
	p   *Program
	dir string
}

func (*initCommand) Synopsis() string { return "Create a new definition, with a test and a README" }

func (c *initCommand) flags() *flag.FlagSet {
	fs := newFlags("init")
	fs.StringVar(&c.dir, "dir", ".", "`DIR` Catalog folder to create it in. Default is the working directory.")
	return fs
}

func (c *initCommand) Help() string {
	return `Usage: nomad-sidecar init [-dir DIR] NAME

  Makes a folder NAME with a definition that passes lint, a test that passes, and a
  README. What is there already is never overwritten.

` + flagHelp(c)
}

func (c *initCommand) Run(args []string) int {
	rest, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	if len(rest) != 1 {
		return c.p.usage(fmt.Errorf("init takes the name of the new sidecar; see nomad-sidecar init -help"))
	}
	r := c.p.reporter()
	paths, diags := c.create(c.dir, rest[0])
	if r.report(diags) {
		return exitError
	}
	for _, path := range paths {
		display.Fprintf(c.p.Stdout, "%s\n", path)
	}
	return exitDone
}

// create writes the files of a new sidecar and returns their paths.
func (c *initCommand) create(dir, name string) ([]string, hcl.Diagnostics) {
	definition, err := fromScaffold("definition.hcl", name)
	if err != nil {
		return nil, failureOf("Cannot read the scaffold", err)
	}
	file := name + sidecar.Suffix
	def, diags := sidecar.Parse([]byte(definition), file)
	if diags.HasErrors() {
		// The scaffold is valid, so the name is not.
		return nil, failure(diags[0].Summary, diags[0].Detail)
	}
	test, err := fromScaffold("test.hcl", name)
	if err != nil {
		return nil, failureOf("Cannot read the scaffold", err)
	}
	readme, err := fromScaffold("README.md", name)
	if err != nil {
		return nil, failureOf("Cannot read the scaffold", err)
	}
	page := sidecardoc.New(def)
	readme = strings.NewReplacer("SUMMARY", page.Summary, "EXAMPLE", page.Example, "PARAMETERS", page.ParameterTable()).Replace(readme)
	folder := filepath.Join(dir, name)
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return nil, failure("Folder exists", fmt.Sprintf("%s already exists. Choose another name, or remove it.", folder))
	}
	var paths []string
	for _, f := range []struct{ path, text string }{
		{file, definition}, {"README.md", readme}, {filepath.Join("tests", name+sidecartest.Suffix), test},
	} {
		path := filepath.Join(folder, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, failureOf("Cannot write", err)
		}
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			return nil, failureOf("Cannot write", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func fromScaffold(file, name string) (string, error) {
	text, err := scaffold.ReadFile("scaffold/" + file)
	return strings.ReplaceAll(string(text), "NAME", name), err
}

package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
)

type inject struct{ p *Program }

func (*inject) Synopsis() string { return "Inject sidecars into a job file" }

func (*inject) Help() string {
	return `Usage: nomad-sidecar inject [options] JOB|-

  Reads a job, in HCL or in the JSON of Nomad's API, injects the sidecars that are
  chosen for its groups, and writes it to stdout for "nomad job run". Sidecars are
  chosen by sidecar blocks in the job, by meta ("sidecar.inject"), or by -with.

  -with NAME[@CONSTRAINT]   Choose a sidecar, such as topz@~>1.0; may be repeated.
  -param NAME.KEY=VALUE     Value of a sidecar's parameter; may be repeated.
  -group GROUP              Let -with and -param concern this group only; may be
                            repeated.
  -var KEY=VALUE            Value of a variable of the job; may be repeated.
  -var-file FILE            File with values of variables; may be repeated.
  -out hcl|json             Form of the output. Default is that of the input.
  -catalog DIR              Folder of definitions; may be repeated. Default is
                            NOMAD_SIDECAR_CATALOG, then the built-in catalog.

  Exit codes: 0 done, 1 an error in the input, 2 wrong usage.`
}

// injectOptions is what the command line says.
type injectOptions struct {
	flags    templater.Flags
	vars     texts
	varFiles texts
	catalogs texts
	out      string
	path     string
}

func (c *inject) Run(args []string) int {
	o, err := c.options(args)
	if err != nil {
		return c.p.usage(err)
	}
	r := c.p.reporter()
	out, diags := c.inject(o, r)
	if r.report(diags) {
		return exitError
	}
	if _, err := c.p.Stdout.Write(out); err != nil {
		r.report(failure("Cannot write", err.Error()+"."))
		return exitError
	}
	return exitDone
}

func (c *inject) options(args []string) (*injectOptions, error) {
	o := &injectOptions{}
	var with, params, groups texts
	fs := flag.NewFlagSet("inject", flag.ContinueOnError)
	fs.Var(&with, "with", "")
	fs.Var(&params, "param", "")
	fs.Var(&groups, "group", "")
	fs.Var(&o.vars, "var", "")
	fs.Var(&o.varFiles, "var-file", "")
	fs.Var(&o.catalogs, "catalog", "")
	fs.StringVar(&o.out, "out", "", "")
	rest, err := parse(fs, args)
	if err != nil {
		return nil, err
	}
	if len(rest) != 1 {
		return nil, errors.New("inject takes one job file, or - for stdin; see nomad-sidecar inject -help")
	}
	if o.out != "" && o.out != "hcl" && o.out != "json" {
		return nil, fmt.Errorf("-out is hcl or json, not %q", o.out)
	}
	o.path = rest[0]
	o.flags, err = chooseFlags(with, params)
	o.flags.Groups = groups
	return o, err
}

// chooseFlags reads -with NAME[@CONSTRAINT] and -param NAME.KEY=VALUE.
func chooseFlags(with, params []string) (templater.Flags, error) {
	flags := templater.Flags{Params: map[string]map[string]sidecar.Argument{}}
	for _, w := range with {
		name, constraint, _ := strings.Cut(w, "@")
		if name == "" {
			return flags, fmt.Errorf("-with is NAME or NAME@CONSTRAINT, not %q", w)
		}
		flags.With = append(flags.With, &templater.Request{Sidecar: name, Constraint: constraint})
	}
	for _, p := range params {
		target, value, ok := strings.Cut(p, "=")
		name, key, dotted := strings.Cut(target, ".")
		if !ok || !dotted || name == "" || key == "" {
			return flags, fmt.Errorf("-param is NAME.KEY=VALUE, and this is not: %q", target)
		}
		if flags.Params[name] == nil {
			flags.Params[name] = map[string]sidecar.Argument{}
		}
		flags.Params[name][key] = sidecar.Argument{Value: cty.StringVal(value), Text: true, From: "-param " + target}
	}
	return flags, nil
}

// inject returns the job to write. The reporter learns the sources read.
func (c *inject) inject(o *injectOptions, r *reporter) ([]byte, hcl.Diagnostics) {
	catalog, diags := loadCatalog(c.p.catalogDirs(o.catalogs))
	r.know(catalog.Files())
	if diags.HasErrors() {
		return nil, diags
	}
	src, name, err := c.read(o.path)
	if err != nil {
		return nil, failure("Cannot read the job", err.Error()+".")
	}
	doc, more := openJob(src, name, o, catalog, c.p.Environ)
	diags = append(diags, more...)
	if doc == nil || diags.HasErrors() {
		r.know(sourceOf(name, src))
		return nil, diags
	}
	r.know(doc.files())
	choices, more := templater.Choose(doc.job(), catalog, o.flags)
	diags = append(diags, more...)
	if diags.HasErrors() {
		return nil, diags
	}
	keep, more := templater.Reconcile(doc.marks(), choices, catalog)
	diags = append(diags, more...)
	if diags.HasErrors() {
		return nil, diags
	}
	if keep {
		out, more := doc.asItIs()
		return out, append(diags, more...)
	}
	edits, more := templater.Plan(doc.job(), choices)
	diags = append(diags, more...)
	if diags.HasErrors() {
		return nil, diags
	}
	out, more := doc.apply(edits)
	return out, append(diags, more...)
}

func (c *inject) read(path string) (src []byte, name string, err error) {
	if path == "-" {
		src, err = io.ReadAll(c.p.Stdin)
		return src, "<stdin>", err
	}
	src, err = os.ReadFile(path)
	return src, path, err
}

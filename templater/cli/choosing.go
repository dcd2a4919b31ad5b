package cli

import (
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// injectOptions are the flags of a command that injects.
type injectOptions struct {
	with, params, groups texts

	flags    templater.Flags
	vars     texts
	varFiles texts
	catalogs texts
	policies texts
	allowFS  bool
	out      string // "", "hcl" or "json"
	path     string
	nomad    bool // the command needs a Nomad
}

// declare adds the flags of every command that injects to a flag set, and resets them.
func (o *injectOptions) declare(fs *flag.FlagSet) *flag.FlagSet {
	*o = injectOptions{}
	fs.Var(&o.with, "with", "`NAME[@CONSTRAINT]` Choose a sidecar, such as topz@~>1.0; may be repeated, or hold several with commas.")
	fs.Var(&o.params, "param", "`NAME.KEY=VALUE` Value of a sidecar's parameter; may be repeated.")
	fs.Var(&o.groups, "group", "`GROUP` Limit -with and -param to this group; may be repeated.")
	fs.Var(&o.vars, "var", "`KEY=VALUE` Value of a variable of the job; may be repeated.")
	fs.Var(&o.varFiles, "var-file", "`FILE` File with values of variables, in HCL or JSON; may be repeated.")
	fs.BoolVar(&o.allowFS, "allow-fs", false, "Let functions of the job such as file() read files, as \"nomad job run\" does. Off by default.")
	fs.Var(&o.catalogs, "catalog", catalogUsage)
	fs.Var(&o.policies, "policy", policyUsage)
	return fs
}

// parse reads the command line of a command with one job.
func (o *injectOptions) parse(fs *flag.FlagSet, args []string) error {
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return fmt.Errorf("%s takes one job file, or - for stdin; see nomad-sidecar %s -help", fs.Name(), fs.Name())
	}
	if o.out != "" && o.out != "hcl" && o.out != "json" {
		return fmt.Errorf("-out must be hcl or json, not %q", o.out)
	}
	o.path = rest[0]
	o.flags, err = chooseFlags(o.with, o.params)
	o.flags.Groups = o.groups
	return err
}

// chooseFlags reads -with NAME[@CONSTRAINT] and -param NAME.KEY=VALUE.
func chooseFlags(with, params []string) (templater.Flags, error) {
	flags := templater.Flags{Params: map[string]map[string]sidecar.Argument{}}
	for _, w := range with {
		requests := templater.ParseRequests(w)
		if len(requests) == 0 || slices.ContainsFunc(requests, func(r *job.Request) bool { return r.Sidecar == "" }) {
			return flags, fmt.Errorf("-with must be NAME or NAME@CONSTRAINT, or several with commas, not %q", w)
		}
		flags.With = append(flags.With, requests...)
	}
	for _, p := range params {
		target, value, ok := strings.Cut(p, "=")
		name, key, dotted := strings.Cut(target, ".")
		if !ok || !dotted || name == "" || key == "" {
			return flags, fmt.Errorf("-param must be NAME.KEY=VALUE, not %q", target)
		}
		if flags.Params[name] == nil {
			flags.Params[name] = map[string]sidecar.Argument{}
		}
		flags.Params[name][key] = sidecar.Argument{Value: cty.StringVal(value), Text: true, From: "-param " + target}
	}
	return flags, nil
}

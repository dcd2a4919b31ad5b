package cli

import (
	"flag"
	"maps"
	"slices"

	"github.com/posener/complete"

	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/catalog"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// completed is a command with completions for its flags and arguments.
type completed struct {
	verb
	p    *Program
	args complete.Predictor
}

func (c *completed) AutocompleteArgs() complete.Predictor { return c.args }

func (c *completed) AutocompleteFlags() complete.Flags {
	out := complete.Flags{}
	c.flags().VisitAll(func(f *flag.Flag) {
		out["-"+f.Name] = complete.PredictNothing
		if !isSwitch(f) {
			out["-"+f.Name] = c.p.predictValue(f)
		}
	})
	return out
}

func (p *Program) predictValue(f *flag.Flag) complete.Predictor {
	kind, _ := flag.UnquoteUsage(f)
	switch f.Name {
	case "catalog":
		return complete.PredictOr(complete.PredictDirs("*"), lockedAddresses())
	case "dir":
		return complete.PredictDirs("*")
	case "policy":
		return complete.PredictOr(complete.PredictFiles("*.hcl"), complete.PredictDirs("*"))
	case "var-file", "tls-cert", "tls-key", "tls-client-ca", "fleet-token", "state":
		return complete.PredictFiles("*")
	case "out":
		if kind == "DIR" {
			return complete.PredictDirs("*")
		}
		return complete.PredictSet("hcl", "json")
	case "format":
		return complete.PredictSet("text", "markdown", "html")
	case "severity":
		return severities()
	case "analyze":
		return complete.PredictSet(analyze.Severities()...)
	case "threshold":
		return complete.PredictSet(analyze.Severities()[1:]...)
	case "with", "sidecar":
		return p.sidecars()
	case "is":
		return complete.PredictSet(fleet.States()...)
	case "param":
		return p.parameters()
	}
	return complete.PredictAnything
}

// sidecars completes the names in the catalog.
func (p *Program) sidecars() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		catalog, _ := p.loadCatalog(nil, p.reporter()) // completion ignores errors in the catalog
		return catalog.Names()
	})
}

// parameters completes NAME.KEY= for the newest definitions.
func (p *Program) parameters() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		catalog, _ := p.loadCatalog(nil, p.reporter())
		var out []string
		for _, name := range catalog.Names() {
			for _, param := range catalog.Versions(name)[0].Parameters {
				out = append(out, name+"."+param.Name+"=")
			}
		}
		return out
	})
}

// severities completes CODE=LEVEL.
func severities() complete.Predictor {
	var all []string
	for _, c := range analyze.Codes() {
		for _, level := range analyze.Severities() {
			all = append(all, c.ID+"="+level)
		}
	}
	return complete.PredictSet(all...)
}

// lockedAddresses completes the catalogs pinned in the working directory.
func lockedAddresses() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		lock, _ := catalog.ReadLock(catalog.LockName) // completion ignores errors in the lock file
		return slices.Sorted(maps.Keys(lock.Entries))
	})
}

func manifests() complete.Predictor {
	return complete.PredictOr(complete.PredictFiles("*.yaml"), complete.PredictFiles("*.yml"), complete.PredictFiles("*.json"))
}

func jobFiles() complete.Predictor {
	return complete.PredictOr(complete.PredictFiles("*.hcl"), complete.PredictFiles("*.nomad"), complete.PredictFiles("*.json"))
}

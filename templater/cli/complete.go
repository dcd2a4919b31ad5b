package cli

import (
	"strings"

	"github.com/mitchellh/cli"
	"github.com/posener/complete"
)

// completed is a command with what a shell may propose for its flags and arguments.
type completed struct {
	cli.Command
	flags complete.Flags
	args  complete.Predictor
}

func (c *completed) AutocompleteFlags() complete.Flags    { return c.flags }
func (c *completed) AutocompleteArgs() complete.Predictor { return c.args }

// completion adds proposals to a command. Flags are written as in its help: those
// that end in "=" take a value.
func (p *Program) completion(c cli.Command, args complete.Predictor, flags ...string) cli.Command {
	out := &completed{Command: c, flags: complete.Flags{}, args: args}
	for _, f := range flags {
		name, takesValue := strings.CutSuffix(f, "=")
		out.flags["-"+name] = complete.PredictNothing
		if takesValue {
			out.flags["-"+name] = p.predictValue(name)
		}
	}
	return out
}

func (p *Program) predictValue(flag string) complete.Predictor {
	switch flag {
	case "catalog", "dir":
		return complete.PredictDirs("*")
	case "var-file":
		return complete.PredictFiles("*")
	case "out":
		return complete.PredictSet("hcl", "json")
	case "format":
		return complete.PredictSet("text", "markdown", "html")
	case "with":
		return p.sidecars()
	case "param":
		return p.parameters()
	}
	return complete.PredictAnything
}

// sidecars proposes the names in the catalog.
func (p *Program) sidecars() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		catalog, _ := loadCatalog(p.catalogDirs(nil)) // what is wrong in it proposes nothing
		return catalog.Names()
	})
}

// parameters proposes NAME.KEY= for the newest definitions.
func (p *Program) parameters() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		catalog, _ := loadCatalog(p.catalogDirs(nil))
		var out []string
		for _, name := range catalog.Names() {
			for _, param := range catalog.Versions(name)[0].Parameters {
				out = append(out, name+"."+param.Name+"=")
			}
		}
		return out
	})
}

func jobFiles() complete.Predictor {
	return complete.PredictOr(complete.PredictFiles("*.hcl"), complete.PredictFiles("*.nomad"), complete.PredictFiles("*.json"))
}

// choosing are the flags of choosingFlags, and more.
func choosing(more ...string) []string {
	return append(more, "with=", "param=", "group=", "var=", "var-file=", "catalog=")
}

package cli

import (
	"flag"
	"fmt"
)

type versionCommand struct{ p *Program }

func (*versionCommand) Synopsis() string { return "Print the version and the commit" }

func (*versionCommand) flags() *flag.FlagSet { return newFlags("version") }

func (*versionCommand) Help() string {
	return "Usage: nomad-sidecar version\n\n  Prints the version of this program and the commit of its source, if known."
}

func (c *versionCommand) Run(args []string) int {
	if len(args) > 0 {
		return c.p.usage(fmt.Errorf("version takes no arguments"))
	}
	fmt.Fprintf(c.p.Stdout, "nomad-sidecar %s\n", c.p.Version)
	if c.p.Commit != "" {
		fmt.Fprintf(c.p.Stdout, "commit %s\n", c.p.Commit)
	}
	return exitDone
}

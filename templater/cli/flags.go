package cli

import (
	"flag"
	"fmt"
	"strings"

	"github.com/mitchellh/cli"
)

// verb is a command with flags that are declared once, in a flag set for the command line, -help
// and completion. The usage of a flag is its description, with the kind of its value, if any, in
// back quotes.
type verb interface {
	cli.Command
	// flags returns the flag set of the next run.
	flags() *flag.FlagSet
}

// newFlags returns an empty flag set.
func newFlags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

const (
	helpIndent = 28 // of descriptions
	helpWidth  = 84
)

// flagHelp describes the flags of a verb, by name.
func flagHelp(v verb) string {
	var out strings.Builder
	v.flags().VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		line := "  -" + f.Name
		if !isSwitch(f) {
			line += " " + value
			usage = strings.TrimPrefix(usage, value)
		}
		if len(line) > helpIndent-2 {
			out.WriteString(line + "\n")
			line = ""
		}
		line = fmt.Sprintf("%-*s", helpIndent, line)
		for i, word := range strings.Fields(usage) {
			switch {
			case i == 0:
			case len(line)+len(word) >= helpWidth:
				out.WriteString(line + "\n")
				line = strings.Repeat(" ", helpIndent)
			default:
				line += " "
			}
			line += word
		}
		out.WriteString(line + "\n")
	})
	return strings.TrimSuffix(out.String(), "\n")
}

// isSwitch reports whether a flag has no value.
func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// Descriptions of flags that several commands share.
const (
	catalogUsage = "`DIR` Folder of definitions, or an address that get has fetched; may be repeated. " +
		"Default is NOMAD_SIDECAR_CATALOG, then the built-in catalog."
	policyOverrideUsage = "Override soft mandatory Sentinel policies of Nomad Enterprise."
	policyUsage         = "`FILE|DIR` Policy whose rules choose sidecars and check the job; of a folder all *.policy.hcl; may be repeated."
)

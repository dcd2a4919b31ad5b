package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/mitchellh/cli"
	"github.com/posener/complete"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

// Exit codes of every command, except those that follow `nomad job plan`.
const (
	exitDone  = 0
	exitError = 1 // an error in the input
	exitUsage = 2 // wrong usage
)

// Exit codes of the commands that follow `nomad job plan`.
const (
	exitSame    = 0
	exitChanged = 1
	exitFailed  = 255 // wrong usage too
)

// Program is the environment that the commands run in.
type Program struct {
	Version string   // semantic, without v
	Commit  string   // full hash of the source's commit, empty if unknown
	Args    []string // without the program's name
	Environ []string // like os.Environ
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer

	// data is Stdout for jobs and files, which are written unchanged. Everything else is escaped.
	data io.Writer
	// screen shows progress; nil if Stderr is not a terminal.
	screen io.Writer
}

// shield escapes all output for people, and for programs in JSON: names, values and answers may
// contain control characters.
func (p *Program) shield() {
	if p.data != nil {
		return
	}
	p.data = p.Stdout
	if p.terminal(p.Stderr) {
		p.screen = p.Stderr
	}
	p.Stdout = &display.Writer{To: p.Stdout, Colours: p.terminal(p.Stdout)}
	p.Stderr = &display.Writer{To: p.Stderr, Colours: p.terminal(p.Stderr)}
}

// Run runs the command that Args name and returns its exit code.
func (p *Program) Run() int {
	p.shield()
	c := &cli.CLI{
		Name: "nomad-sidecar", Version: p.Version, Args: p.Args,
		HelpFunc: cli.BasicHelpFunc("nomad-sidecar"), HelpWriter: p.Stdout, ErrorWriter: p.Stderr,
		Autocomplete: true, Commands: p.commands(),
	}
	known := map[string]bool{"": true}
	for name := range c.Commands {
		known[name] = true
	}
	if name := c.Subcommand(); !known[name] && !c.IsHelp() && !c.IsVersion() {
		return p.usage(fmt.Errorf("there is no command %q; see nomad-sidecar -help", name))
	}
	if !c.IsHelp() && !c.IsVersion() {
		c.HelpWriter = p.Stderr // the help was not requested
	}
	code, err := c.Run()
	if err != nil {
		return p.usage(err)
	}
	if code == cli.RunResultHelp || (c.Subcommand() == "" && code != exitDone) {
		return exitUsage
	}
	return code
}

// commands returns the commands, with their shell completions.
func (p *Program) commands() map[string]cli.CommandFactory {
	definitions := complete.PredictOr(complete.PredictFiles("*.hcl"), complete.PredictDirs("*"))
	out := map[string]cli.CommandFactory{}
	for name, c := range map[string]*completed{
		"analyze":    {verb: &analyzeCommand{p: p}, args: jobFiles()},
		"completion": {verb: &completionCommand{p: p}, args: complete.PredictSet(shells()...)},
		"diff":       {verb: &diffCommand{p: p}, args: jobFiles()},
		"docs":       {verb: &docs{p: p}, args: p.sidecars()},
		"eject":      {verb: &eject{p: p}, args: jobFiles()},
		"explain":    {verb: &explain{p: p}, args: jobFiles()},
		"fmt":        {verb: &format{p: p}, args: definitions},
		"get":        {verb: &get{p: p}, args: complete.PredictNothing},
		"import":     {verb: &importCommand{p: p}, args: manifests()},
		"init":       {verb: &initCommand{p: p}, args: complete.PredictNothing},
		"inject":     {verb: &inject{p: p}, args: jobFiles()},
		"lint":       {verb: &lint{p: p}, args: definitions},
		"list":       {verb: &list{p: p}, args: complete.PredictNothing},
		"plan":       {verb: &planCommand{p: p}, args: jobFiles()},
		"run":        {verb: &run{p: p}, args: jobFiles()},
		"serve":      {verb: &serveCommand{p: p}, args: complete.PredictNothing},
		"status":     {verb: &status{p: p}, args: complete.PredictNothing},
		"test":       {verb: &test{p: p}, args: definitions},
		"upgrade":    {verb: &upgrade{p: p}, args: complete.PredictNothing},
		"version":    {verb: &versionCommand{p: p}, args: complete.PredictNothing},
	} {
		c.p = p
		out[name] = func() (cli.Command, error) { return c, nil }
	}
	return out
}

// usage reports wrong usage.
func (p *Program) usage(err error) int {
	fmt.Fprintf(p.Stderr, "Error: %s\n", indented(sentence(err)))
	return exitUsage
}

// parse reads flags and arguments in any order.
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(io.Discard)
	var rest []string
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, fmt.Errorf("%w; see nomad-sidecar %s -help", err, fs.Name())
		}
		args = fs.Args()
		if len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	return rest, nil
}

// texts is a flag that may be repeated.
type texts []string

func (t *texts) String() string     { return strings.Join(*t, ", ") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

func getenv(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

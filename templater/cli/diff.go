package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/term"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

type diffCommand struct {
	p    *Program
	o    injectOptions
	json bool
}

func (*diffCommand) Synopsis() string { return "Show what injection changes in a job file" }

func (c *diffCommand) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("diff"))
	fs.BoolVar(&c.json, "json", false, "Print the edits as JSON instead.")
	return fs
}

func (c *diffCommand) Help() string {
	return `Usage: nomad-sidecar diff [options] JOB|-

  Prints the changes that inject would make to the job file, as a unified diff.

` + flagHelp(c) + `

  Exit codes: 0 no change, 1 a change, 255 an error.`
}

func (c *diffCommand) Run(args []string) int {
	fs, o := c.flags(), &c.o
	if err := o.parse(fs, args); err != nil {
		c.p.usage(err)
		return exitFailed
	}
	r := c.p.reporter()
	in, diags := c.p.injection(o, r)
	if r.report(diags) {
		return exitFailed
	}
	changed := !bytes.Equal(in.source, in.Output)
	var out []byte
	switch {
	case c.json:
		var more hcl.Diagnostics
		if out, more = in.editsJSON(changed); r.report(more) {
			return exitFailed
		}
		out = r.redact(out)
	case changed:
		out = r.redact(diff.Diff(in.name, in.source, in.name+" with sidecars", in.Output))
		out = []byte(display.Text(strings.ReplaceAll(string(out), "\r\n", "\n")))
		if c.p.colourful() {
			out = colourDiff(out)
		}
	}
	if c.p.write(r, out) != exitDone {
		return exitFailed
	}
	if changed {
		return exitChanged
	}
	return exitSame
}

// editsJSON lists the edits that inject applies to the job without sidecars.
func (in *injection) editsJSON(changed bool) ([]byte, hcl.Diagnostics) {
	list := make([]*templater.EditText, 0, len(in.Edits))
	for _, e := range in.Edits {
		text, err := templater.Describe(e)
		if err != nil {
			return nil, failureOf("Cannot write the edits", err)
		}
		list = append(list, text)
	}
	return marshal(struct {
		Changed bool                  `json:"changed"`
		Edits   []*templater.EditText `json:"edits"`
	}{changed, list})
}

// marshal returns JSON for programs.
func marshal(v any) ([]byte, hcl.Diagnostics) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, failureOf("Cannot write JSON", err)
	}
	return out.Bytes(), nil
}

// colourful reports whether stdout is a terminal and colours are enabled.
func (p *Program) colourful() bool {
	w, ok := p.Stdout.(*display.Writer)
	return ok && w.Colours
}

func (p *Program) terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && escapes(f) && getenv(p.Environ, "NO_COLOR") == ""
}

func colourDiff(text []byte) []byte {
	colours := map[byte]int{'-': 31, '+': 32, '@': 36}
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		if code := colours[line[0]]; code != 0 {
			fmt.Fprintf(&out, "\x1b[%dm%s\x1b[0m\n", code, bytes.TrimSuffix(line, []byte("\n")))
			continue
		}
		out.Write(line)
	}
	return out.Bytes()
}

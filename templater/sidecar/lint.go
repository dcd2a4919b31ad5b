package sidecar

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// ParserVersion is the Nomad release of the built-in parser.
const ParserVersion = "1.11.3"

// Lint returns advice as warnings, and blocks that the built-in parser of Nomad
// rejects as errors. To find the latter it evaluates the definition with its defaults
// and sample values; if the samples are invalid, or requires.nomad excludes the
// parser's release, this check is skipped.
func (d *Definition) Lint() hcl.Diagnostics {
	var diags hcl.Diagnostics
	warn := func(at hcl.Range, summary, format string, args ...any) {
		diag := diagnostic.Error(at, summary, fmt.Sprintf(format, args...))
		diag.Severity = hcl.DiagWarning
		diags = append(diags, diag)
	}
	undescribed := func(what, name, description string, at hcl.Range) {
		if description == "" {
			warn(at, "Missing description", "Describe %s %q for those who choose this sidecar.", what, name)
		}
	}
	if d.Summary == "" {
		warn(d.Range, "Missing summary", "Say in one sentence what sidecar %q does: summary = \"…\".", d.Name)
	}
	for _, p := range d.Parameters {
		undescribed("parameter", p.Name, p.Description, p.Range)
		if p.Deprecated != "" && p.Required() {
			warn(p.Range, "Deprecated but required", "Nobody can stop setting parameter %q, which is deprecated: give it a default.", p.Name)
		}
	}
	for _, o := range d.Outputs {
		undescribed("output", o.Name, o.Description, o.Range)
	}
	for _, e := range d.Examples {
		undescribed("example", e.Name, e.Description, e.Range)
	}
	diags = append(diags, d.lintExamples()...)
	for _, p := range d.API.Ports {
		undescribed("port", p.Label, p.Description, p.Range)
	}
	for _, e := range d.API.Directories {
		undescribed("directory", e.Path, e.Description, e.Range)
	}
	for _, e := range d.API.Env {
		undescribed("variable", e.Name, e.Description, e.Range)
	}
	for _, s := range d.API.Signals {
		undescribed("signal", s.Name, s.Description, s.Range)
	}
	if outputs := d.lintOutputs(); outputs.HasErrors() {
		return append(diags, outputs...)
	}
	inst, wrong := d.trySample()
	diags = append(diags, wrong...)
	if inst == nil {
		return diags
	}
	for _, t := range inst.Tasks {
		lifecycle := t.Body.Blocks("lifecycle")
		if len(lifecycle) > 0 && len(t.Body.Blocks("restart")) == 0 {
			warn(t.Range, "Missing restart", "Task %q sets no restart policy, so injection gives it one: 3 attempts a minute, 5s apart, mode \"delay\". Write it out, or another one.", t.Label())
		}
		if len(lifecycle) == 0 {
			warn(t.Range, "Missing lifecycle", "Task %q has no lifecycle block, so it runs beside the app as a main task: the allocation does not end before it does.", t.Label())
		}
		if missing := d.unshared(t); missing != "" {
			warn(t.Range, "Missing share", "The app tasks must share %q, but task %q of this sidecar does not: add it to share in its config.", missing, t.Label())
		}
	}
	return append(diags, d.checkNomad(inst)...)
}

// unshared returns a namespace that the app must share and the sidecar's task does not.
func (d *Definition) unshared(t *Block) string {
	if t.Body.String("driver") != "pod" {
		return ""
	}
	share := []string{"ipc", "uts"}
	for _, c := range t.Body.Blocks("config") {
		if a := c.Body.Attr("share"); a != nil && a.Value.CanIterateElements() {
			share = nil
			for _, v := range a.Value.AsValueSlice() {
				if v.Type() == cty.String {
					share = append(share, v.AsString())
				}
			}
		}
	}
	for _, ns := range d.Requires.Share {
		if !slices.Contains(share, ns) {
			return ns
		}
	}
	return ""
}

func (d *Definition) checkNomad(inst *Instance) hcl.Diagnostics {
	if d.Requires.Nomad != nil && !d.Requires.Nomad.Check(version.Must(version.NewVersion(ParserVersion))) {
		return nil
	}
	var diags hcl.Diagnostics
	for _, b := range slices.Concat(inst.Tasks, inst.Services, inst.Volumes) {
		text := "job \"j\" {\ngroup \"g\" {\n" + b.HCL(Style{}) + "}\n}\n"
		_, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "block", Body: []byte(text), Strict: true})
		if err != nil {
			diags = append(diags, notNomad(b, text, err)...)
		}
	}
	return diags
}

// complaint matches an error of Nomad's parser: the position in the parsed text, and the
// message.
var complaint = regexp.MustCompile(`^block:(\d+),(\d+)-(\d+): (.*)$`)

// notNomad maps errors of Nomad's parser about generated text to positions in the
// definition.
func notNomad(b *Block, text string, err error) hcl.Diagnostics {
	var diags hcl.Diagnostics
	lines := strings.Split(text, "\n")
	for _, said := range strings.Split(err.Error(), "\n") {
		at, what := b.Range, said
		if m := complaint.FindStringSubmatch(said); m != nil {
			what = strings.Replace(m[4], "; ", ": ", 1)
			if r, ok := b.find(slice(lines, m[1], m[2], m[3])); ok {
				at = r
			}
		}
		diags = append(diags, diagnostic.Error(at, "Not a Nomad block", fmt.Sprintf(
			"Nomad %s does not accept this in %s %q. %s If a newer Nomad does, say so with requires { nomad = \"> %s\" }.",
			ParserVersion, b.Type, b.Label(), what, ParserVersion)))
	}
	return diags
}

// slice returns the part of a line between two columns, both counted from 1.
func slice(lines []string, line, from, to string) string {
	n, _ := strconv.Atoi(line) // complaint matches digits only
	i, _ := strconv.Atoi(from)
	j, _ := strconv.Atoi(to)
	if n < 1 || n > len(lines) || i < 1 || j < i || j-1 > len(lines[n-1]) {
		return ""
	}
	return lines[n-1][i-1 : j-1]
}

// find returns the position of an attribute or block with this name at any depth.
func (b *Block) find(name string) (hcl.Range, bool) {
	for _, it := range b.Body {
		switch it := it.(type) {
		case *Attr:
			if it.Name == name {
				return it.Range, true
			}
		case *Block:
			if it.Type == name {
				return it.Range, true
			}
			if r, ok := it.find(name); ok {
				return r, true
			}
		}
	}
	return hcl.Range{}, false
}

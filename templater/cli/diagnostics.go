package cli

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/term"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

// reporter writes diagnostics, each with its source lines.
type reporter struct {
	out   io.Writer
	files map[string]*hcl.File
	// withoutSource omits the source lines, since readers of a log may not be allowed to read
	// the file.
	withoutSource bool
	// secrets redacts the values of sensitive parameters.
	secrets templater.Redactor
}

func (p *Program) reporter() *reporter {
	return &reporter{out: p.Stderr, files: map[string]*hcl.File{}}
}

// hide makes the reporter redact texts in all its output.
func (r *reporter) hide(secrets []string) { r.secrets = templater.NewRedactor(secrets) }

// redact returns text with the secrets replaced.
func (r *reporter) redact(text []byte) []byte { return []byte(r.secrets.Text(string(text))) }

// know adds sources that diagnostics may refer to.
func (r *reporter) know(files map[string]*hcl.File) { maps.Copy(r.files, files) }

// knowFiles is know for files that may not exist.
func (r *reporter) knowFiles(paths []string) {
	for _, path := range paths {
		if src, err := bounds.ReadFile(path, bounds.DefinitionBytes); err == nil {
			r.know(sourceOf(path, src))
		}
	}
}

// report writes the diagnostics and reports whether one of them is an error.
func (r *reporter) report(diags hcl.Diagnostics) (failed bool) {
	width, colour := r.layout()
	for _, d := range diags {
		files := r.files
		if r.withoutSource || d.Subject != nil && !showable(files[d.Subject.Filename], d.Subject) {
			files = nil
		}
		var text bytes.Buffer
		if d.Subject != nil && files != nil {
			files = harmless(files, d.Subject.Filename)
		}
		w := hcl.NewDiagnosticTextWriter(&text, files, width, colour)
		// The context contains values, some of which may be sensitive. Without it they are not
		// printed.
		shown := *d
		shown.Expression, shown.EvalContext = nil, nil
		shown.Summary, shown.Detail = display.Line(d.Summary), indented(display.Text(d.Detail))
		if err := w.WriteDiagnostic(&shown); err != nil {
			fmt.Fprintf(&text, "Error: %s\n", d)
		}
		out := bytes.Replace(text.Bytes(), []byte(noSource), []byte("\n"), 1)
		_, _ = r.out.Write(r.redact(out)) // stderr is the last resort
	}
	return diags.HasErrors()
}

// noSource is printed by the writer of diagnostics after a position without an available source.
const noSource = ":\n  (source code not available)\n"

// layout returns the width of the terminal, 0 if there is none, and whether it supports colours.
func (r *reporter) layout() (width uint, colours bool) {
	w, ok := r.out.(*display.Writer)
	if !ok {
		return 0, false
	}
	if f, ok := w.To.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			width = uint(n)
		}
	}
	return width, w.Colours
}

// harmless returns files with one of them escaped for a terminal.
func harmless(files map[string]*hcl.File, name string) map[string]*hcl.File {
	file := files[name]
	if file == nil {
		return files
	}
	shown := *file
	shown.Bytes = display.Source(file.Bytes)
	return map[string]*hcl.File{name: &shown}
}

// showable reports whether the source lines of a diagnostic are short enough to read. A generated
// file may have megabytes on one line.
func showable(file *hcl.File, at *hcl.Range) bool {
	const most = 1000
	if file == nil {
		return true // there is nothing to show
	}
	start, end := min(at.Start.Byte, len(file.Bytes)), min(at.End.Byte, len(file.Bytes))
	before := start - bytes.LastIndexByte(file.Bytes[:start], '\n')
	after := bytes.IndexByte(file.Bytes[end:], '\n')
	if after < 0 {
		after = len(file.Bytes) - end
	}
	return before+after+max(0, end-start) <= most
}

func failure(summary, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: detail}}
}

func warning(summary, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: summary, Detail: detail}}
}

// failureOf is failure with an error as its detail.
func failureOf(summary string, err error) hcl.Diagnostics { return failure(summary, sentence(err)) }

// indented indents all lines but the first: a name with line breaks must not look like output of
// this program.
func indented(text string) string {
	lines := strings.Split(text, "\n")
	for i := 1; i < len(lines); i++ {
		if lines[i] != "" && lines[i][0] != ' ' {
			lines[i] = "  " + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// sentence adds a full stop to the text of an error, unless it has an end mark.
func sentence(err error) string {
	text := err.Error()
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

package cli

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"golang.org/x/term"
)

// reporter writes diagnostics, each with the lines of source it is about.
type reporter struct {
	out   io.Writer
	plain bool // no colours, whatever the terminal
	files map[string]*hcl.File
	// withoutSource leaves the lines of source out: a log is read by others than the file.
	withoutSource bool
	// secrets takes out what sensitive parameters hold.
	secrets templater.Redactor
}

func (p *Program) reporter() *reporter {
	return &reporter{out: p.Stderr, plain: getenv(p.Environ, "NO_COLOR") != "", files: map[string]*hcl.File{}}
}

// hide has the reporter leave texts out of all that goes through it.
func (r *reporter) hide(secrets []string) { r.secrets = templater.NewRedactor(secrets) }

// redact is a text without what is hidden.
func (r *reporter) redact(text []byte) []byte { return []byte(r.secrets.Text(string(text))) }

// know adds sources that diagnostics may refer to.
func (r *reporter) know(files map[string]*hcl.File) { maps.Copy(r.files, files) }

// report writes the diagnostics and says whether there is an error among them.
func (r *reporter) report(diags hcl.Diagnostics) (failed bool) {
	width, colour := uint(0), false
	if f, ok := r.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		colour = !r.plain
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width = uint(w)
		}
	}
	for _, d := range diags {
		files := r.files
		if r.withoutSource || d.Subject != nil && !showable(files[d.Subject.Filename], d.Subject) {
			files = nil
		}
		var text bytes.Buffer
		w := hcl.NewDiagnosticTextWriter(&text, files, width, colour)
		// Without its context a diagnostic does not print values, which may be
		// those of sensitive parameters.
		shown := *d
		shown.Expression, shown.EvalContext = nil, nil
		if err := w.WriteDiagnostic(&shown); err != nil {
			fmt.Fprintf(&text, "Error: %s\n", d)
		}
		_, _ = r.out.Write(r.redact(text.Bytes())) // there is nobody to tell
	}
	return diags.HasErrors()
}

// showable says whether the lines that a diagnostic is about are of a length that
// somebody reads. What generated a file may have put megabytes on one.
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

// failureOf is failure with an error for its detail.
func failureOf(summary string, err error) hcl.Diagnostics { return failure(summary, sentence(err)) }

// sentence ends the text of an error, unless it is a question or ends already.
func sentence(err error) string {
	text := err.Error()
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

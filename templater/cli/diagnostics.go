package cli

import (
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/term"
)

// reporter writes diagnostics, each with the lines of source it is about.
type reporter struct {
	out   io.Writer
	plain bool // no colours, whatever the terminal
	files map[string]*hcl.File
}

func (p *Program) reporter() *reporter {
	return &reporter{out: p.Stderr, plain: getenv(p.Environ, "NO_COLOR") != "", files: map[string]*hcl.File{}}
}

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
	w := hcl.NewDiagnosticTextWriter(r.out, r.files, width, colour)
	for _, d := range diags {
		// Without its context a diagnostic does not print values, which may be
		// those of sensitive parameters.
		shown := *d
		shown.Expression, shown.EvalContext = nil, nil
		if err := w.WriteDiagnostic(&shown); err != nil {
			fmt.Fprintf(r.out, "Error: %s\n", d)
		}
	}
	return diags.HasErrors()
}

func failure(summary, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: detail}}
}

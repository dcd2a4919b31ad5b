package cli

import (
	"encoding/json"

	"github.com/hashicorp/hcl/v2"
)

// lintReport is the output of lint -json, in the form of `terraform validate -json`, format
// version 1, which editors and CI tools can read.
type lintReport struct {
	FormatVersion string           `json:"format_version"`
	Valid         bool             `json:"valid"`
	ErrorCount    int              `json:"error_count"`
	WarningCount  int              `json:"warning_count"`
	Diagnostics   []lintDiagnostic `json:"diagnostics"`
}

type lintDiagnostic struct {
	Severity string     `json:"severity"` // error or warning
	Summary  string     `json:"summary"`
	Detail   string     `json:"detail"`
	Range    *lintRange `json:"range,omitempty"` // nil if it has no position
}

// lintRange is half-open: End is not part of it.
type lintRange struct {
	Filename string  `json:"filename"`
	Start    lintPos `json:"start"`
	End      lintPos `json:"end"`
}

// lintPos counts lines and columns (in characters) from 1, bytes from 0.
type lintPos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

func newLintReport(diags hcl.Diagnostics) lintReport {
	r := lintReport{FormatVersion: "1.0", Valid: !diags.HasErrors(), Diagnostics: []lintDiagnostic{}}
	for _, d := range diags {
		out := lintDiagnostic{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			out.Severity = "warning"
			r.WarningCount++
		} else {
			r.ErrorCount++
		}
		if d.Subject != nil {
			out.Range = &lintRange{Filename: d.Subject.Filename, Start: lintPos(d.Subject.Start), End: lintPos(d.Subject.End)}
		}
		r.Diagnostics = append(r.Diagnostics, out)
	}
	return r
}

// writeLint writes the report even if there are errors.
func (p *Program) writeLint(diags hcl.Diagnostics) int {
	encoder := json.NewEncoder(p.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(newLintReport(diags)); err != nil {
		p.reporter().report(failureOf("Cannot write the report", err))
		return exitError
	}
	if diags.HasErrors() {
		return exitError
	}
	return exitDone
}

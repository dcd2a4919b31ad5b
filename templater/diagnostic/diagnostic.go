// Package diagnostic makes the diagnostics that the templater reports.
package diagnostic

import "github.com/hashicorp/hcl/v2"

// Error is an error about the source at a range; a zero range means no source.
func Error(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail}
	if at != (hcl.Range{}) {
		d.Subject = at.Ptr()
	}
	return d
}

// Warning is Error with the severity of a warning.
func Warning(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	d := Error(at, summary, detail)
	d.Severity = hcl.DiagWarning
	return d
}

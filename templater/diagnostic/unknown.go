package diagnostic

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// Unknown is the reason why a value of a job is not known, such as a variable that is not
// set. It is never replaced by a default: whatever depends on it is an error.
type Unknown struct {
	// Expr names the unknown parts, such as "var.mode". It contains no literals.
	Expr string
	// WayOut explains how to provide the value, in one sentence.
	WayOut string
	// Invalid means that the value is known, but has no meaning there.
	Invalid bool
	Range   hcl.Range
}

func (u *Unknown) String() string {
	if u.Range == (hcl.Range{}) {
		return u.Expr
	}
	return fmt.Sprintf("%s (%s:%d)", u.Expr, u.Range.Filename, u.Range.Start.Line)
}

// Error returns an error about something that depends on the value. The argument is the
// subject of its sentence.
func (u *Unknown) Error(what string) *hcl.Diagnostic {
	d := Error(u.Range, "Unknown value", fmt.Sprintf("%s depends on %s, which is unknown. %s", what, u, u.WayOut))
	if u.Invalid {
		d.Summary, d.Detail = "Invalid value", fmt.Sprintf("%s depends on %s. %s", what, u, u.WayOut)
	}
	d.Extra = u
	return d
}

// HasUnknown reports whether one of the errors is about a value that is not known.
func HasUnknown(diags hcl.Diagnostics) bool {
	for _, d := range diags {
		if _, ok := d.Extra.(*Unknown); ok && d.Severity == hcl.DiagError {
			return true
		}
	}
	return false
}

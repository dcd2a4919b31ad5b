package sidecar

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Summaries of the warnings of Deprecations.
const (
	deprecatedSidecar   = "Deprecated sidecar"
	deprecatedParameter = "Deprecated parameter"
)

// IsDeprecation reports whether a diagnostic is a warning of Deprecations.
func IsDeprecation(d *hcl.Diagnostic) bool {
	return d.Severity == hcl.DiagWarning && (d.Summary == deprecatedSidecar || d.Summary == deprecatedParameter)
}

// decodeDeprecated reads what to use instead.
func decodeDeprecated(a *hcl.Attribute, into *string) hcl.Diagnostics {
	if a == nil {
		return nil
	}
	diags := gohcl.DecodeExpression(a.Expr, nil, into)
	if !diags.HasErrors() && strings.TrimSpace(*into) == "" {
		diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid deprecated",
			`deprecated says what to use instead, such as deprecated = "Use parameter limit."`))
	}
	return diags
}

// Sets reports whether the argument decides the parameter's value: null selects the default of a
// parameter that is not nullable.
func (p *Parameter) Sets(arg Argument) bool {
	return p.Nullable || arg.Text || !arg.Value.IsNull()
}

// Deprecations returns a warning for the definition and for each parameter with an argument, if it
// is deprecated. site is the position of the choice.
func (d *Definition) Deprecations(args map[string]Argument, site hcl.Range) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if d.Deprecated != "" {
		diags = append(diags, diagnostic.Warning(site, deprecatedSidecar, fmt.Sprintf("Sidecar %q %s is deprecated: %s", d.Name, d.Version, d.Deprecated)))
	}
	for _, p := range d.Parameters {
		arg, given := args[p.Name]
		if p.Deprecated == "" || !given || !p.Sets(arg) {
			continue
		}
		at := arg.Range
		if p.Sensitive {
			at = arg.Safe
		}
		diags = append(diags, diagnostic.Warning(at, deprecatedParameter,
			fmt.Sprintf("Parameter %q of sidecar %q %s%s is deprecated: %s", p.Name, d.Name, d.Version, arg.from(), p.Deprecated)))
	}
	return diags
}

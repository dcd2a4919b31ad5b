package templater

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Hidden replaces the value of a sensitive parameter.
const Hidden = "(sensitive)"

// minSecretBytes is the length of the shortest redacted text. Shorter texts occur everywhere and
// are easily guessed.
const minSecretBytes = 3

// Redactor removes texts from output. The zero value removes none.
type Redactor struct{ replace *strings.Replacer }

// NewRedactor returns a Redactor for texts such as those from Secrets, in all their spellings.
// It ignores texts shorter than minSecretBytes.
func NewRedactor(secrets []string) Redactor {
	var forms []string
	for _, secret := range secrets {
		forms = append(forms, spellings(secret)...)
		if lines := strings.Split(secret, "\n"); len(lines) > 1 {
			for _, line := range lines { // a diff shows lines one by one
				forms = append(forms, spellings(strings.TrimSpace(line))...)
			}
		}
	}
	forms = slices.DeleteFunc(forms, func(f string) bool { return len(f) < minSecretBytes })
	// Longest first, since a text may contain another.
	slices.SortFunc(forms, func(x, y string) int {
		if len(x) != len(y) {
			return len(y) - len(x)
		}
		return strings.Compare(x, y)
	})
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, Hidden)
	}
	return Redactor{strings.NewReplacer(pairs...)}
}

// Text returns text with the secrets replaced.
func (r Redactor) Text(text string) string {
	if r.replace == nil {
		return text
	}
	return r.replace.Replace(text)
}

// Diagnostics returns redacted copies of diagnostics. It does not redact their source lines:
// the caller that prints them must.
func (r Redactor) Diagnostics(diags hcl.Diagnostics) hcl.Diagnostics {
	out := make(hcl.Diagnostics, 0, len(diags))
	for _, d := range diags {
		shown := *d
		shown.Summary, shown.Detail = r.Text(d.Summary), r.Text(d.Detail)
		out = append(out, &shown)
	}
	return out
}

// spellings returns the spellings of a text in HCL, in JSON, in Go's quotes, in a mark and, for an
// edit, in HCL inside JSON.
func spellings(text string) []string {
	inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	inJSON := func(s string) string {
		out, _ := json.Marshal(s) // a string always marshals
		return inner(string(out))
	}
	plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")
	out := []string{strings.NewReplacer("${", "$${", "%{", "%%{").Replace(text), inner(strconv.Quote(text))}
	for _, t := range []string{text, job.MarkSpelling(text)} {
		out = append(out, t)
		for _, s := range []sidecar.Style{{}, {Runtime: true}} {
			out = append(out, inner(sidecar.Value(cty.StringVal(t), s)))
		}
	}
	for _, s := range slices.Clone(out) {
		out = append(out, inJSON(s), plain.Replace(inJSON(s)))
	}
	return out
}

package templater

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
)

// Hidden is what stands for the value of a sensitive parameter.
const Hidden = "(sensitive)"

// leastSecret is how long a text must be to be looked for: what is shorter stands
// everywhere, and nobody would have to read it to know it.
const leastSecret = 3

// Redactor leaves texts out of what people are shown. The zero value leaves out none.
type Redactor struct{ replace *strings.Replacer }

// NewRedactor makes one for texts such as Secrets finds, in all the ways in which they
// may be spelt. Texts of less than three characters it does not look for.
func NewRedactor(secrets []string) Redactor {
	var forms []string
	for _, secret := range secrets {
		forms = append(forms, spellings(secret)...)
		if lines := strings.Split(secret, "\n"); len(lines) > 1 {
			for _, line := range lines { // a diff shows them one by one
				forms = append(forms, spellings(strings.TrimSpace(line))...)
			}
		}
	}
	forms = slices.DeleteFunc(forms, func(f string) bool { return len(f) < leastSecret })
	// The longest first, since one may be a part of another.
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

// Text is a text without what is to be left out.
func (r Redactor) Text(text string) string {
	if r.replace == nil {
		return text
	}
	return r.replace.Replace(text)
}

// Diagnostics are diagnostics without it. Those given are not changed. The lines of
// source that they are about are not looked at: that is up to whoever shows them.
func (r Redactor) Diagnostics(diags hcl.Diagnostics) hcl.Diagnostics {
	out := make(hcl.Diagnostics, 0, len(diags))
	for _, d := range diags {
		shown := *d
		shown.Summary, shown.Detail = r.Text(d.Summary), r.Text(d.Detail)
		out = append(out, &shown)
	}
	return out
}

// spellings are the ways in which a text stands in HCL, in JSON, in Go's quotes and,
// as an edit's, in HCL that stands in JSON.
func spellings(text string) []string {
	inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	inJSON := func(s string) string {
		out, _ := json.Marshal(s) // a string always marshals
		return inner(string(out))
	}
	plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")
	out := []string{text, strings.NewReplacer("${", "$${", "%{", "%%{").Replace(text), inner(strconv.Quote(text))}
	for _, s := range []sidecar.Style{{}, {Runtime: true}} {
		out = append(out, inner(sidecar.Value(cty.StringVal(text), s)))
	}
	for _, s := range slices.Clone(out) {
		out = append(out, inJSON(s), plain.Replace(inJSON(s)))
	}
	return out
}

package cli

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
)

// hidden is what stands for the value of a sensitive parameter.
const hidden = "(sensitive)"

// leastSecret is how long a text must be to be looked for: what is shorter stands
// everywhere, and nobody would have to read it to know it.
const leastSecret = 3

// hide has the reporter leave texts out of all that goes through it.
func (r *reporter) hide(secrets []string) {
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
		pairs = append(pairs, f, hidden)
	}
	r.secrets = strings.NewReplacer(pairs...)
}

// redact is a text without what is hidden.
func (r *reporter) redact(text []byte) []byte {
	if r.secrets == nil {
		return text
	}
	return []byte(r.secrets.Replace(string(text)))
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

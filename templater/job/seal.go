package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Seal returns a short hash of a change that injection made outside of its own tasks. It
// distinguishes the change from later edits and from values that are only claimed to be injected.
func Seal(parts ...string) string {
	text, _ := json.Marshal(parts) // strings always marshal
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// SealKey returns the key of Added.Seals for one change. kind is env, append, config, port, volume,
// service or the type of a block; task is "" for the group.
func SealKey(task, kind, name string) string { return task + "/" + kind + "/" + name }

// ServiceKey returns the SealKey of a service; several services may share a name.
func ServiceKey(index int) string { return SealKey("", "service", strconv.Itoa(index)) }

// SealedJSON normalizes JSON for seals, so that it is equal before and after Nomad's parser,
// which turns an object into a list with one item (jobspec2/hclutil.BlocksAsAttrs).
func SealedJSON(raw []byte) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	out, _ := json.Marshal(unwrapped(v)) // an unmarshalled value always marshals
	return string(out)
}

func unwrapped(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 1 {
			if m, ok := v[0].(map[string]any); ok {
				return unwrapped(m)
			}
		}
		for i := range v {
			v[i] = unwrapped(v[i])
		}
	case map[string]any:
		for k := range v {
			if v[k] = unwrapped(v[k]); v[k] == nil {
				delete(v, k)
			}
		}
	}
	return v
}

func (a *Added) seal(key string, parts ...string) {
	if a.Seals == nil {
		a.Seals = map[string]string{}
	}
	a.Seals[key] = Seal(parts...)
}

// sealedValue returns SealedJSON of a known value.
func sealedValue(v cty.Value) string {
	raw, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return ""
	}
	return SealedJSON(raw)
}

// word returns an attribute as text, or "" if it is missing.
func word(b *sidecar.Block, name string) string {
	a := b.Body.Attr(name)
	if a == nil {
		return ""
	}
	s, err := convert.Convert(a.Value, cty.String)
	if err != nil || s.IsNull() {
		return ""
	}
	return s.AsString()
}

// Altered reports injected tasks with marks that name a change which injection did not write. The
// change and these tasks are left in the job.
func Altered(marks []Marked) hcl.Diagnostics {
	var diags hcl.Diagnostics
	told := map[string]bool{}
	for _, m := range marks {
		if key := m.Group + "/" + m.Mark.Name; m.Mark.Altered != "" && !told[key] {
			told[key] = true
			diags = append(diags, m.altered())
		}
	}
	return diags
}

func (m Marked) altered() *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Edited or forged injection"}
	var detail strings.Builder
	detail.WriteString("Task " + strconv.Quote(m.Task) + " of group " + strconv.Quote(m.Group) + " has the marks of sidecar " + strconv.Quote(m.Mark.Name) + ", but " + m.Mark.Altered)
	detail.WriteString(": it was edited, or the marks were written by hand. It is not removed, since it may belong to the job. If it is, remove the task, or the " + MarkName + ", " + MarkAdded + " and other sidecar.* keys of its meta; if not, remove it from the job, or write there what the sidecar wrote. Then try again.")
	d.Detail = detail.String()
	if m.Range != (hcl.Range{}) {
		d.Subject = m.Range.Ptr()
	}
	return d
}

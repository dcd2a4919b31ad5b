package jsonjob

import (
	"crypto/rand"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// shape is a task or service without its free text: strings that Nomad's parser passes through
// unchanged, such as the values of variables, and in which the tasks of one definition mostly
// differ between groups. Tokens replace them.
type shape struct{ texts []string }

// token begins the replacement of a string. It must not be guessable: otherwise a string of one
// sidecar could be moved to a text that another author controls.
var token = "text-" + rand.Text() + "-"

var quotedToken = regexp.MustCompile(`"` + token + `[0-9]+"`)

// block returns a copy with tokens. free means that all strings in it are free text.
func (s *shape) block(b *sidecar.Block, free bool) *sidecar.Block {
	free = free || isFree(b.Type)
	out := &sidecar.Block{Type: b.Type, Labels: b.Labels, Range: b.Range, Body: make(sidecar.Body, 0, len(b.Body))}
	for _, it := range b.Body {
		switch it := it.(type) {
		case *sidecar.Block:
			out.Body = append(out.Body, s.block(it, free))
		case *sidecar.Attr:
			a := *it
			if free || isFree(a.Name) || (b.Type == "template" && a.Name == "data") || (b.Type == "service" && a.Name == "name") {
				a.Value = s.value(a.Value)
			}
			out.Body = append(out.Body, &a)
		}
	}
	return out
}

func isFree(name string) bool { return name == "env" || name == "meta" || name == "config" }

func (s *shape) value(v cty.Value) cty.Value {
	switch t := v.Type(); {
	case t == cty.String:
		s.texts = append(s.texts, v.AsString())
		return cty.StringVal(token + strconv.Itoa(len(s.texts)-1))
	case t.IsTupleType() && v.LengthInt() > 0:
		return cty.TupleVal(s.values(v))
	case t.IsListType() && t.ElementType() == cty.String && v.LengthInt() > 0:
		return cty.ListVal(s.values(v))
	case (t.IsObjectType() || t.IsMapType()) && v.LengthInt() > 0:
		out := map[string]cty.Value{}
		for it := v.ElementIterator(); it.Next(); { // sorted by name
			k, e := it.Element()
			out[k.AsString()] = s.value(e)
		}
		return cty.ObjectVal(out)
	}
	return v
}

func (s *shape) values(v cty.Value) []cty.Value {
	out := make([]cty.Value, 0, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		out = append(out, s.value(e))
	}
	return out
}

// jsonTemplate is the JSON of a shape: text n is inserted between two parts.
type jsonTemplate struct {
	parts []string
	texts []int
}

// newJSONTemplate returns nil if the parser did not pass each of the texts through once and unchanged.
func newJSONTemplate(raw []byte, texts int) *jsonTemplate {
	m, from := &jsonTemplate{}, 0
	for _, at := range quotedToken.FindAllIndex(raw, -1) {
		n, err := strconv.Atoi(string(raw[at[0]+1+len(token) : at[1]-1]))
		if err != nil || slices.Contains(m.texts, n) {
			return nil
		}
		m.parts, m.texts = append(m.parts, string(raw[from:at[0]])), append(m.texts, n)
		from = at[1]
	}
	m.parts = append(m.parts, string(raw[from:]))
	if len(m.texts) != texts || strings.Count(string(raw), token) != texts {
		return nil
	}
	return m
}

// size returns the size of its text in bytes; 0 for nil.
func (m *jsonTemplate) size() int {
	if m == nil {
		return 0
	}
	n := 0
	for _, p := range m.parts {
		n += len(p)
	}
	return n
}

// fill returns the JSON with these texts.
func (m *jsonTemplate) fill(texts []string) []byte {
	out := []byte(m.parts[0])
	for i, n := range m.texts {
		text, _ := json.Marshal(texts[n]) // a string always marshals
		out = append(append(out, text...), m.parts[i+1]...)
	}
	return out
}

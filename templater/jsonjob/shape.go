package jsonjob

import (
	"crypto/rand"
	"encoding/json"
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
			if free || isFreeAttr(b.Type, a.Name) {
				a.Value = s.value(a.Value)
			}
			out.Body = append(out.Body, &a)
		}
	}
	return out
}

func isFree(name string) bool { return name == "env" || name == "meta" || name == "config" }

func isFreeAttr(block, name string) bool {
	return isFree(name) || block == "template" && name == "data" || block == "service" && name == "name"
}

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

// key appends a text that two blocks have in common only if they have the same shape, and
// collects the texts in the order of block.
func (s *shape) key(to []byte, b *sidecar.Block, free bool) []byte {
	free = free || isFree(b.Type)
	to = strconv.AppendQuote(to, b.Type)
	for _, l := range b.Labels {
		to = strconv.AppendQuote(append(to, ' '), l)
	}
	to = append(to, '{')
	for _, it := range b.Body {
		switch it := it.(type) {
		case *sidecar.Block:
			to = s.key(to, it, free)
		case *sidecar.Attr:
			to = append(strconv.AppendQuote(to, it.Name), '=')
			if free || isFreeAttr(b.Type, it.Name) {
				to = s.valueKey(to, it.Value)
			} else {
				to = append(to, sidecar.Value(it.Value, sidecar.Style{})...)
			}
		}
		to = append(to, '\n')
	}
	return append(to, '}')
}

func (s *shape) valueKey(to []byte, v cty.Value) []byte {
	switch t := v.Type(); {
	case t == cty.String && v.IsKnown() && !v.IsNull():
		s.texts = append(s.texts, v.AsString())
		return append(to, '$')
	case isTexts(t) && v.LengthInt() > 0:
		to = append(to, '[')
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			to = append(s.valueKey(to, e), ',')
		}
		return append(to, ']')
	case (t.IsObjectType() || t.IsMapType()) && v.LengthInt() > 0:
		to = append(to, '{')
		for it := v.ElementIterator(); it.Next(); { // sorted by name
			k, e := it.Element()
			to = append(strconv.AppendQuote(to, k.AsString()), ':')
			to = append(s.valueKey(to, e), ',')
		}
		return append(to, '}')
	}
	return append(to, sidecar.Value(v, sidecar.Style{})...)
}

// isTexts reports whether a list is kept, with tokens for its strings.
func isTexts(t cty.Type) bool {
	return t.IsTupleType() || t.IsListType() && t.ElementType() == cty.String
}

// template is the laid out JSON of a shape, in which tokens stand for the texts. It is shared.
type template struct {
	root  *node
	texts int
}

// newTemplate returns nil if the parser did not pass each of the texts through once and unchanged.
func newTemplate(raw []byte, texts int, l layout) *template {
	root := parseValue(raw, l)
	seen := map[int]bool{}
	if !markTokens(root, seen) || len(seen) != texts || strings.Count(string(raw), token) != texts {
		return nil
	}
	return &template{root, texts}
}

// markTokens records the number of each token in the start of its node. It returns false if one
// occurs twice.
func markTokens(n *node, seen map[int]bool) bool {
	if n.kind == 0 {
		digits, ok := strings.CutPrefix(n.text, `"`+token)
		if !ok {
			return true
		}
		i, err := strconv.Atoi(strings.TrimSuffix(digits, `"`))
		if err != nil || strconv.Itoa(i)+`"` != digits || seen[i] {
			return false
		}
		seen[i], n.start = true, firstToken-i
		return true
	}
	for _, it := range n.items {
		if !markTokens(it.value, seen) {
			return false
		}
	}
	return true
}

// firstToken is the start of the node of the first token; the others follow below it.
const firstToken = -2

// fill returns a copy with these texts.
func (m *template) fill(texts []string) *node { return new(cloner).fill(m.root, texts) }

// fill is clone with texts for tokens.
func (c *cloner) fill(n *node, texts []string) *node {
	switch {
	case n.kind == 0 && n.start > firstToken:
		return n
	case n.kind == 0:
		text, _ := json.Marshal(texts[firstToken-n.start]) // a string always marshals
		out := c.nodes.next()
		out.text, out.start = string(text), -1
		return out
	}
	return c.copy(n, func(v *node) *node { return c.fill(v, texts) })
}

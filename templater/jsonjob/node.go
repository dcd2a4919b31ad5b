package jsonjob

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// node is a JSON value that is written back byte for byte. A value other than an object or array
// is only its text.
type node struct {
	kind  byte // '{', '[', or 0 for everything else
	text  string
	items []*item
	// tail is the white space before the closing bracket.
	tail  string
	start int // offset in the source, -1 for a new node
}

// item is a member of an object or an element of an array.
type item struct {
	lead  string // white space before the key or element
	key   string // the key as written, with quotes; empty in an array
	name  string // the decoded key; clone it if it may outlive the document
	colon string // the colon with white space around it
	value *node
	trail string // white space before the comma or bracket
}

// document is one JSON value with the text around it.
type document struct {
	root       *node
	lead, rest string
}

// parseJSON reads one JSON value. Like Nomad it ignores the rest, but it preserves it: rest is
// everything after the value.
func parseJSON(src []byte) (*document, error) {
	if at := bounds.JSON(src); at >= 0 {
		return nil, &syntaxError{at, fmt.Sprintf("it is nested more than %d levels deep", bounds.Levels)}
	}
	end := len(src)
	if !json.Valid(src) { // or something follows it, which the decoder copies completely to find
		dec := json.NewDecoder(bytes.NewReader(src))
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, locate(src, err)
		}
		end = int(dec.InputOffset())
	}
	text := string(src)
	s := &scanner{src: text[:end]}
	d := &document{lead: s.space()}
	d.root = s.value()
	d.rest = text[s.at:]
	return d, nil
}

// syntaxError is a JSON error with its offset.
type syntaxError struct {
	offset int
	what   string
}

func (e *syntaxError) Error() string { return e.what }

func locate(src []byte, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return &syntaxError{max(0, int(syntax.Offset)-1), syntax.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &syntaxError{len(src), "unexpected end of JSON"}
	}
	return &syntaxError{0, err.Error()}
}

// slab allocates many values in a few allocations. They are freed together.
type slab[T any] struct{ free []T }

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 64)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

// scanner splits valid JSON.
type scanner struct {
	src   string
	at    int
	nodes slab[node]
	items slab[item]
	open  []*item // items of the open containers
}

func (s *scanner) space() string {
	from := s.at
	for s.at < len(s.src) && strings.IndexByte(" \t\r\n", s.src[s.at]) >= 0 {
		s.at++
	}
	return s.src[from:s.at]
}

func (s *scanner) value() *node {
	n := s.nodes.next()
	n.start = s.at
	switch s.src[s.at] {
	case '{', '[':
		n.kind = s.src[s.at]
		s.container(n)
	case '"':
		n.text = s.str()
	default:
		from := s.at
		for s.at < len(s.src) && strings.IndexByte(",]} \t\r\n", s.src[s.at]) < 0 {
			s.at++
		}
		n.text = s.src[from:s.at]
	}
	return n
}

func (s *scanner) container(n *node) {
	s.at++
	lead := s.space()
	if s.src[s.at] == '}' || s.src[s.at] == ']' {
		n.tail = lead
		s.at++
		return
	}
	for first := len(s.open); ; {
		it := s.items.next()
		it.lead = lead
		if n.kind == '{' {
			it.key = s.str()
			it.name = unquote(it.key)
			from := s.at
			s.space()
			s.at++ // the colon
			s.space()
			it.colon = s.src[from:s.at]
		}
		it.value = s.value()
		it.trail = s.space()
		s.open = append(s.open, it)
		s.at++
		if c := s.src[s.at-1]; c == '}' || c == ']' {
			n.tail, it.trail = it.trail, ""
			n.items = slices.Clone(s.open[first:])
			s.open = s.open[:first]
			return
		}
		lead = s.space()
	}
}

func (s *scanner) str() string {
	from := s.at
	for s.at++; s.src[s.at] != '"'; s.at++ {
		if s.src[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
	return s.src[from:s.at]
}

// write appends the text of the node.
func (n *node) write(out []byte) []byte {
	if n.kind == 0 {
		return append(out, n.text...)
	}
	out = append(out, n.kind)
	for i, it := range n.items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, it.lead...)
		if n.kind == '{' {
			out = append(out, it.key...)
			out = append(out, it.colon...)
		}
		out = it.value.write(out)
		out = append(out, it.trail...)
	}
	out = append(out, n.tail...)
	if n.kind == '{' {
		return append(out, '}')
	}
	return append(out, ']')
}

// length returns the length of the text that write appends.
func (n *node) length() int {
	if n.kind == 0 {
		return len(n.text)
	}
	sum := 2 + max(0, len(n.items)-1) + len(n.tail)
	for _, it := range n.items {
		sum += len(it.lead) + len(it.key) + len(it.colon) + it.value.length() + len(it.trail)
	}
	return sum
}

// clone returns a copy with containers that can be edited. Scalars are shared, as they are never
// modified.
func (n *node) clone() *node { return new(cloner).clone(n) }

type cloner struct {
	nodes slab[node]
	items slab[item]
}

func (c *cloner) clone(n *node) *node {
	if n.kind == 0 {
		return n
	}
	return c.copy(n, c.clone)
}

// copy copies a container, and its values with of.
func (c *cloner) copy(n *node, of func(*node) *node) *node {
	out := c.nodes.next()
	*out = *n
	out.items = make([]*item, len(n.items))
	for i, it := range n.items {
		out.items[i] = c.items.next()
		*out.items[i] = *it
		out.items[i].value = of(it.value)
	}
	return out
}

// get returns the member that Nomad's decoder would use for a field, or nil; a null counts as
// absent.
func (n *node) get(name string) *node {
	if it := n.member(name); it != nil && !it.value.isNull() {
		return it.value
	}
	return nil
}

// member returns the last member with a name, without regard to case.
func (n *node) member(name string) *item {
	if n == nil || n.kind != '{' {
		return nil
	}
	for i := len(n.items) - 1; i >= 0; i-- {
		if strings.EqualFold(n.items[i].name, name) {
			return n.items[i]
		}
	}
	return nil
}

// key returns the value of a key of a map, or nil. Unlike field names, map keys are
// case-sensitive.
func (n *node) key(name string) *node {
	if n == nil || n.kind != '{' {
		return nil
	}
	for i := len(n.items) - 1; i >= 0; i-- {
		if n.items[i].name == name {
			return n.items[i].value
		}
	}
	return nil
}

func (n *node) isNull() bool { return n.kind == 0 && n.text == "null" }

func (n *node) isTrue() bool { return n != nil && n.kind == 0 && n.text == "true" }

// elements returns the values of an array, or none for any other value.
func (n *node) elements() []*node {
	if n == nil || n.kind != '[' {
		return nil
	}
	out := make([]*node, 0, len(n.items))
	for _, it := range n.items {
		out = append(out, it.value)
	}
	return out
}

// str returns the value of a string, or "" for any other value. It is a copy, so it may outlive
// the document.
func (n *node) str() string {
	if n == nil || n.kind != 0 {
		return ""
	}
	return strings.Clone(unquote(n.text))
}

// unquote returns the value of a string, as a substring of text if possible, or "" for any other
// value.
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' {
		return ""
	}
	if inner := text[1 : len(text)-1]; isPlain(inner) {
		return inner
	}
	var s string
	_ = json.Unmarshal([]byte(text), &s) // valid JSON always decodes
	return s
}

// isPlain reports whether a string has no escapes.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// number returns the value of a whole number, or 0 for any other value.
func (n *node) number() int {
	var i int
	if n != nil && n.kind == 0 {
		_ = json.Unmarshal([]byte(n.text), &i)
	}
	return i
}

func (n *node) String() string { return fmt.Sprintf("%.40s", n.write(nil)) }

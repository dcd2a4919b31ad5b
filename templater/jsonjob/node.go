package jsonjob

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// node is a JSON value that can be written back byte for byte. Of a value that
// is neither object nor array only the text is kept.
type node struct {
	kind  byte // '{', '[', or 0 for everything else
	text  []byte
	items []*item
	// tail is the white space before the closing bracket.
	tail  []byte
	start int // offset in the source, -1 for a new node
}

// item is a member of an object or an element of an array.
type item struct {
	lead  []byte // white space before the key or element
	key   []byte // the key as written, with quotes; nil in an array
	name  string // the key's meaning
	colon []byte // the colon with white space around it
	value *node
	trail []byte // white space before the comma or bracket
}

// parseJSON reads one JSON value. Nomad ignores what follows it, and so does this,
// but keeps it: rest is everything after the value.
func parseJSON(src []byte) (root *node, lead, rest []byte, err error) {
	if at := bounds.JSON(src); at >= 0 {
		return nil, nil, nil, &syntaxError{at, fmt.Sprintf("it nests more than %d levels deep", bounds.Levels)}
	}
	dec := json.NewDecoder(bytes.NewReader(src))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, nil, nil, locate(src, err)
	}
	end := int(dec.InputOffset())
	s := &scanner{src: src[:end]}
	lead = s.space()
	root = s.value()
	return root, lead, src[end:], nil
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

// scanner splits JSON that is known to be valid.
type scanner struct {
	src []byte
	at  int
}

func (s *scanner) space() []byte {
	from := s.at
	for s.at < len(s.src) && strings.IndexByte(" \t\r\n", s.src[s.at]) >= 0 {
		s.at++
	}
	return s.src[from:s.at]
}

func (s *scanner) value() *node {
	n := &node{start: s.at}
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
	for {
		it := &item{lead: lead}
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
		n.items = append(n.items, it)
		s.at++
		if c := s.src[s.at-1]; c == '}' || c == ']' {
			n.tail, it.trail = it.trail, nil
			return
		}
		lead = s.space()
	}
}

func (s *scanner) str() []byte {
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

// length is that of what write appends.
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

// clone is a copy whose containers can be edited. What they hold is not copied but
// for other containers, as it is never written to.
func (n *node) clone() *node {
	c := *n
	if n.kind == 0 {
		return &c
	}
	c.items = make([]*item, 0, len(n.items))
	for _, it := range n.items {
		i := *it
		i.value = it.value.clone()
		c.items = append(c.items, &i)
	}
	return &c
}

// get returns the member that Nomad's decoder would use for a field, or nil;
// a null counts as absent.
func (n *node) get(name string) *node {
	if it := n.member(name); it != nil && !it.value.isNull() {
		return it.value
	}
	return nil
}

// member is the last member whose name equals name without regard to case.
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

// key is the value of a key of a map, or nil. Unlike the names of fields, such keys
// differ by case.
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

func (n *node) isNull() bool { return n.kind == 0 && string(n.text) == "null" }

func (n *node) isTrue() bool { return n != nil && n.kind == 0 && string(n.text) == "true" }

// elements are the values of an array; none for anything else.
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

// str is the value of a string; "" for anything else.
func (n *node) str() string {
	if n == nil || n.kind != 0 {
		return ""
	}
	return unquote(n.text)
}

// unquote is the value of a string; "" for anything else.
func unquote(text []byte) string {
	if len(text) < 2 || text[0] != '"' {
		return ""
	}
	if inner := text[1 : len(text)-1]; isPlain(inner) {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(text, &s) // valid JSON: it always decodes
	return s
}

// isPlain says whether a string means what is written.
func isPlain(text []byte) bool {
	for _, c := range text {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// number is the value of a whole number; 0 for anything else.
func (n *node) number() int {
	var i int
	if n != nil && n.kind == 0 {
		_ = json.Unmarshal(n.text, &i)
	}
	return i
}

func (n *node) String() string { return fmt.Sprintf("%.40s", n.write(nil)) }

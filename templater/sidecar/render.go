package sidecar

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
)

// Style is the layout of generated HCL.
type Style struct {
	// Indent precedes each line, except inside heredocs.
	Indent string
	// Heredoc writes multi-line strings as heredocs. It must be false if lines
	// end in CRLF, because a heredoc's line ends are part of its value.
	Heredoc bool
	// Runtime writes Nomad's runtime references unescaped if that is exact, see
	// plainReference. The parser must preserve them, as jobspec2 does.
	Runtime bool
	// Flat writes lists and objects on one line.
	Flat bool
}

func (s Style) deeper() Style {
	s.Indent += "  "
	return s
}

// HCL renders the block as lines that end in "\n". jobspec2 parses the
// result to exactly the values of the block: every ${ and %{ is escaped, or kept if
// Style allows it, since Nomad resolves the remaining references at runtime.
func (b *Block) HCL(s Style) string {
	var out strings.Builder
	b.write(&out, s)
	return out.String()
}

// HCL renders the body's lines without a surrounding block.
func (b Body) HCL(s Style) string {
	var out strings.Builder
	b.write(&out, s)
	return out.String()
}

func (b *Block) write(out *strings.Builder, s Style) {
	out.WriteString(s.Indent + b.Type)
	for _, l := range b.Labels {
		out.WriteString(" " + quote(l))
	}
	if len(b.Body) == 0 {
		out.WriteString(" {}\n")
		return
	}
	out.WriteString(" {\n")
	b.Body.write(out, s.deeper())
	out.WriteString(s.Indent + "}\n")
}

func (b Body) write(out *strings.Builder, s Style) {
	texts := make([]string, len(b)) // of the attributes' values
	for i, it := range b {
		if a, ok := it.(*Attr); ok {
			texts[i] = Value(a.Value, s)
		}
	}
	widths := b.widths(texts)
	for i, it := range b {
		switch it := it.(type) {
		case *Attr:
			fmt.Fprintf(out, "%s%-*s = %s\n", s.Indent, widths[i], it.Name, texts[i])
		case *Block:
			if i > 0 {
				out.WriteString("\n")
			}
			it.write(out, s)
		}
	}
}

// widths returns the length of the longest name in each run of attributes, aligned as
// by `nomad fmt`: a heredoc ends its run, and a multi-line list or object belongs to
// none. It is 0 for other items.
func (b Body) widths(texts []string) []int {
	widths := make([]int, len(b))
	for first := 0; first < len(b); {
		end, width := first, 0
		for ; end < len(b); end++ {
			a, ok := b[end].(*Attr)
			several := strings.Contains(texts[end], "\n")
			if !ok || (several && !strings.HasPrefix(texts[end], "<<")) {
				break
			}
			width = max(width, utf8.RuneCountInString(a.Name))
			if several {
				end++
				break
			}
		}
		for i := first; i < end; i++ {
			widths[i] = width
		}
		first = max(end, first+1)
	}
	return widths
}

// Value renders a wholly known value as an HCL expression. The first line is not
// indented; the following lines are relative to s.Indent.
func Value(v cty.Value, s Style) string {
	t := v.Type()
	switch {
	case v.IsNull():
		return "null"
	case t == cty.String:
		if s.Heredoc {
			if h, ok := heredoc(v.AsString(), s.Runtime); ok {
				return h
			}
		}
		return quoted(v.AsString(), s.Runtime)
	case t == cty.Number:
		return number(v.AsBigFloat())
	case t == cty.Bool:
		return fmt.Sprint(v.True())
	case t.IsListType(), t.IsSetType(), t.IsTupleType():
		return list(v, s)
	default:
		return object(v, s)
	}
}

// number avoids the slow path for fractions if the number is whole.
func number(f *big.Float) string {
	if i, accuracy := f.Int64(); accuracy == big.Exact {
		return strconv.FormatInt(i, 10)
	}
	return f.Text('f', -1)
}

func list(v cty.Value, s Style) string {
	inner := s.deeper()
	inner.Heredoc = false
	items := make([]string, 0, v.LengthInt())
	length := 0
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		items = append(items, Value(e, inner))
		length += len(items[len(items)-1]) + 2
	}
	if s.Flat || length <= 76 && !strings.Contains(strings.Join(items, ""), "\n") {
		return "[" + strings.Join(items, ", ") + "]"
	}
	var out strings.Builder
	out.WriteString("[\n")
	for _, it := range items {
		out.WriteString(inner.Indent + it + ",\n")
	}
	out.WriteString(s.Indent + "]")
	return out.String()
}

func object(v cty.Value, s Style) string {
	if v.LengthInt() == 0 {
		return "{}"
	}
	if s.Flat {
		return flatObject(v, s)
	}
	var body Body
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		body = append(body, &Attr{Name: key(k.AsString()), Value: e})
	}
	var out strings.Builder
	out.WriteString("{\n")
	body.write(&out, s.deeper())
	out.WriteString(s.Indent + "}")
	return out.String()
}

func flatObject(v cty.Value, s Style) string {
	var items []string
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		items = append(items, key(k.AsString())+" = "+Value(e, s))
	}
	return "{ " + strings.Join(items, ", ") + " }"
}

func key(name string) string {
	if plainKey(name) {
		return name
	}
	return quote(name)
}

// plainKey reports whether a key needs no quotes. HCL allows more keys unquoted, but
// its scanner and its definition of identifiers differ for some Unicode characters.
func plainKey(name string) bool {
	for i, r := range name {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || (r != '-' && (r < '0' || r > '9'))) {
			return false
		}
	}
	return name != "" && name != "for"
}

// plainReference matches runtime references that jobspec2 passes on unchanged: only
// names separated by dots.
var plainReference = regexp.MustCompile(`^\$\{(NOMAD_[A-Za-z0-9_]+|(attr|meta|node|env)(\.[A-Za-z_][A-Za-z0-9_-]*)+)\}`)

// quote returns a quoted template that evaluates to exactly s.
func quote(s string) string { return quoted(s, false) }

func quoted(s string, runtime bool) string {
	var out strings.Builder
	out.Grow(len(s) + 16)
	out.WriteByte('"')
	before := rune(0)
	for i, r := range s {
		next := strings.HasPrefix(s[i+1:], "{") // relevant for $ and % only
		switch {
		case r == '$' && runtime && isPlain(s, i, before):
			out.WriteByte('$')
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '"' || r == '\\':
			out.WriteString(`\` + string(r))
		case (r == '$' || r == '%') && next:
			out.WriteString(string(r) + string(r))
		case !unicode.IsPrint(r) && r > 0xffff:
			fmt.Fprintf(&out, `\U%08x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
		before = r
	}
	out.WriteByte('"')
	return out.String()
}

// isPlain reports whether the ${ at i may stay unescaped. After another $ or % it could
// be part of an escape, and jobspec2 includes a following brace in the
// reference (its jobConfig.EvalContext).
func isPlain(s string, i int, before rune) bool {
	ref := plainReference.FindString(s[i:])
	return ref != "" && before != '$' && before != '%' && !strings.HasPrefix(strings.TrimLeft(s[i+len(ref):], " "), "}")
}

// heredoc renders a multi-line string as a heredoc; ok is false if a heredoc
// cannot represent it exactly.
func heredoc(s string, runtime bool) (string, bool) {
	const mark = "EOT"
	if strings.Count(s, "\n") < 2 || !strings.HasSuffix(s, "\n") ||
		strings.Contains(s, mark) || !utf8.ValidString(s) {
		return "", false
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return "", false
		}
	}
	var out strings.Builder
	out.Grow(len(s) + 16)
	out.WriteString("<<" + mark + "\n")
	before, written := rune(0), 0
	for i, r := range s {
		if (r == '$' && !(runtime && isPlain(s, i, before)) || r == '%') && strings.HasPrefix(s[i+1:], "{") {
			out.WriteString(s[written : i+1])
			written = i
		}
		before = r
	}
	out.WriteString(s[written:])
	out.WriteString(mark)
	return out.String(), true
}

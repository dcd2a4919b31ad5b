package kube

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

// width is about the length of the lines that are written.
const width = 96

// block is a block of HCL, in the order in which it is written.
type block struct {
	kind   string
	labels []string
	items  []item
	// config is set for blocks of a task's config: Nomad's client evaluates their texts as HCL
	// again.
	config bool
}

// item is an attribute, a comment or a block.
type item struct {
	name, expression string
	comment          string
	block            *block
}

func (b *block) attr(name, expression string) {
	b.items = append(b.items, item{name: name, expression: expression})
}

func (b *block) text(name, value string)     { b.attr(name, b.expression(value)) }
func (b *block) number(name string, n int64) { b.attr(name, fmt.Sprint(n)) }
func (b *block) flag(name string)            { b.attr(name, "true") }
func (b *block) add(child *block)            { b.items = append(b.items, item{block: child}) }

// texts adds a list, if it has items.
func (b *block) texts(name string, values []string) {
	if len(values) > 0 {
		var expressions []string
		for _, v := range values {
			expressions = append(expressions, b.expression(v))
		}
		b.attr(name, list(expressions))
	}
}

// comment adds a comment, wrapped. Names in it may be hostile.
func (b *block) comment(text string) { b.items = append(b.items, item{comment: display.Line(text)}) }

// child adds a block and returns it.
func (b *block) child(kind string, labels ...string) *block {
	c := &block{kind: kind, labels: labels, config: b.config}
	b.add(c)
	return c
}

// expression returns a string as HCL.
func (b *block) expression(s string) string {
	if b.config {
		s = escaped(s)
	}
	return expression(s)
}

// escaped returns a template that is s when it is evaluated.
func escaped(s string) string { return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s) }

// print returns the formatted text of a block.
func (b *block) print() []byte {
	var out bytes.Buffer
	b.write(&out)
	return hclwrite.Format(out.Bytes())
}

func (b *block) write(out *bytes.Buffer) {
	out.WriteString(b.kind)
	for _, l := range b.labels {
		out.WriteString(" " + quote(l))
	}
	out.WriteString(" {\n")
	for i, it := range b.items {
		if i > 0 && apart(b.items[i-1], it) {
			out.WriteString("\n")
		}
		switch {
		case it.block != nil:
			it.block.write(out)
		case it.comment != "":
			writeComment(out, it.comment)
		default:
			fmt.Fprintf(out, "%s = %s\n", it.name, it.expression)
		}
	}
	out.WriteString("}\n")
}

// apart reports whether an empty line separates two items.
func apart(a, b item) bool {
	switch {
	case a.block != nil:
		return true
	case b.block != nil:
		return a.comment == ""
	case b.comment != "":
		return a.comment == ""
	}
	return strings.Contains(a.expression, "\n") && strings.Contains(a.expression, "<<")
}

func writeComment(out *bytes.Buffer, text string) {
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > width-10 && line != "#" && line != "#  " {
			out.WriteString(line + "\n")
			line = "#  "
		}
		line += " " + word
	}
	out.WriteString(line + "\n")
}

// quote returns a string as HCL.
func quote(s string) string { return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes()) }

// inner is quote without the quotes.
func inner(s string) string {
	q := quote(s)
	return q[1 : len(q)-1]
}

// expression returns a string as HCL: a heredoc if it has several whole lines.
func expression(s string) string {
	if strings.HasSuffix(s, "\n") && strings.Count(s, "\n") > 1 && heredocSafe(s) {
		return heredoc(s)
	}
	return quote(s)
}

func heredocSafe(s string) bool {
	return !strings.Contains(s, "\r") && display.Text(s) == s
}

// heredoc returns lines as a heredoc.
func heredoc(s string) string {
	end := "EOT"
	for i := 1; hasLine(s, end); i++ {
		end = fmt.Sprintf("EOT%d", i)
	}
	return "<<" + end + "\n" + escaped(s) + end
}

func hasLine(s, line string) bool {
	for l := range strings.Lines(s) {
		if strings.TrimSpace(l) == line {
			return true
		}
	}
	return false
}

// list returns a list on one line, or one item a line.
func list(expressions []string) string {
	one := "[" + strings.Join(expressions, ", ") + "]"
	if len(one) <= width-20 && !strings.Contains(one, "\n") {
		return one
	}
	var out strings.Builder
	out.WriteString("[\n")
	for _, e := range expressions {
		out.WriteString(e)
		if strings.HasPrefix(e, "<<") {
			out.WriteString("\n") // the end of a heredoc must be alone on its line
		}
		out.WriteString(",\n")
	}
	out.WriteString("]")
	return out.String()
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// pair is a key and the expression of its value.
type pair struct{ key, expression string }

// pairs adds a block of attributes, or a map if a key is not an identifier.
func (b *block) pairs(name string, pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	plain := true
	for _, p := range pairs {
		plain = plain && identifier.MatchString(p.key)
	}
	if plain {
		c := b.child(name)
		for _, p := range pairs {
			c.attr(p.key, p.expression)
		}
		return
	}
	var out strings.Builder
	out.WriteString("{\n")
	for _, p := range pairs {
		fmt.Fprintf(&out, "%s = %s\n", quote(p.key), p.expression)
	}
	out.WriteString("}")
	b.attr(name, out.String())
}

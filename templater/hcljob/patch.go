package hcljob

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// patch collects insertions into a text. It removes nothing from the text.
type patch struct {
	src   []byte
	name  string
	style sidecar.Style
	crlf  bool // whether the lines of src end in CRLF
	parts []part
	diags hcl.Diagnostics
}

func newPatch(src []byte, name string) *patch {
	crlf := bytes.Contains(src, []byte("\r\n"))
	// A heredoc would contain the line endings of the file.
	return &patch{src: src, name: name, crlf: crlf, style: sidecar.Style{Runtime: true, Heredoc: !crlf}}
}

// part is text to insert before the byte at.
type part struct {
	at   int
	rank rank
	text string
}

// rank orders parts at the same offset.
type rank int

const (
	inPlace  rank = iota // lines that replace those that end here
	atTheEnd             // lines at the end of a block
	disabled             // the prefix of a disabled line
)

// bytes returns the text with all parts inserted.
func (p *patch) bytes() []byte {
	slices.SortStableFunc(p.parts, func(x, y part) int {
		return cmp.Or(x.at-y.at, int(x.rank-y.rank))
	})
	length := len(p.src)
	for _, part := range p.parts {
		length += len(part.text)
	}
	out := make([]byte, 0, length)
	last := 0
	for _, part := range p.parts {
		out = append(out, p.src[last:part.at]...)
		out = append(out, part.text...)
		last = part.at
	}
	return append(out, p.src[last:]...)
}

// undone reports whether Eject of out, the patched text, restores the text.
//
// If the text has no marks of its own, it need not be scanned again: parts are whole lines
// between whole lines, outside of any token, as insert and keep ensure. So Eject finds exactly
// the inserted marks, if it accepts each part as the lines between two marks.
func (p *patch) undone(out []byte) bool {
	if bytes.Contains(p.src, []byte(anyMark)) {
		back, diags := eject(out, p.name, true)
		return !diags.HasErrors() && bytes.Equal(back, p.src)
	}
	seen := map[string]bool{} // groups get the same parts
	for _, part := range p.parts {
		if part.at > 0 && p.src[part.at-1] != '\n' {
			return false
		}
		if part.rank == disabled || seen[part.text] {
			continue
		}
		seen[part.text] = true
		if rest, diags := eject([]byte(part.text), p.name, false); diags.HasErrors() || len(rest) > 0 {
			return false
		}
	}
	return true
}

// insert adds lines between marks before the line at an offset, with the line endings of the
// file. replaced are the disabled lines that they replace.
func (p *patch) insert(at int, r rank, indent, lines string, replaced []byte) {
	p.parts = append(p.parts, part{at, r, p.made(indent+beginMark+"\n") + lines + p.made(indent+endMark+" "+sealOf([]byte(lines), replaced)+"\n")})
}

// replace disables the lines of a range and inserts others in their place.
func (p *patch) replace(r hcl.Range, indent, lines string) {
	p.keep(r)
	first, _ := lineStart(p.src, r.Start.Byte)
	end := lineEnd(p.src, max(r.Start.Byte, r.End.Byte-1))
	p.insert(end, inPlace, indent, lines, p.src[first:end])
}

// made converts generated text to the line endings of the file. Do not pass it text from the
// file.
func (p *patch) made(text string) string {
	if p.crlf {
		return strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

// keep turns the lines of a range into comments. The lines must hold nothing else, which would
// be disabled too.
func (p *patch) keep(r hcl.Range) {
	first, alone := lineStart(p.src, r.Start.Byte)
	end := lineEnd(p.src, max(r.Start.Byte, r.End.Byte-1))
	after := strings.TrimSpace(string(p.src[r.End.Byte:end]))
	if r.End.Byte > end {
		after = "" // the range includes the line ending
	}
	if !alone || (after != "" && !strings.HasPrefix(after, "#") && !strings.HasPrefix(after, "//")) {
		p.diags = append(p.diags, diagnostic.Error(r, "Cannot edit this line",
			"Injection disables these lines, but they share a line with something else. Move that to a separate line."))
		return
	}
	// Indent like comments of `nomad fmt`; Eject removes the blanks.
	prefix := p.indent(r) + disabledMark
	for at := first; at < end; at = lineEnd(p.src, at) {
		p.parts = append(p.parts, part{at, disabled, prefix})
	}
}

func (p *patch) indent(r hcl.Range) string {
	start, _ := lineStart(p.src, r.Start.Byte)
	line := p.src[start:r.Start.Byte]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func (p *patch) oneLine(b *hclsyntax.Block) bool {
	return b.OpenBraceRange.Start.Line == b.CloseBraceRange.Start.Line
}

// extend appends a body to a block. A block on one line is rewritten on several lines; the text
// of its single attribute, if any, is preserved unless the attribute is called replaced.
func (p *patch) extend(to block, body sidecar.Body, replaced string) {
	p.checkIterators(to, body)
	b := to.text
	outer := p.indent(b.DefRange())
	s := p.style
	s.Indent = outer + "  "
	if !p.oneLine(b) {
		at, alone := lineStart(p.src, b.CloseBraceRange.Start.Byte)
		if !alone {
			p.diags = append(p.diags, diagnostic.Error(b.CloseBraceRange, "Cannot edit this line",
				"Injection adds lines before this brace. Move the brace to a separate line."))
			return
		}
		p.insert(at, atTheEnd, s.Indent, p.made(body.HCL(s)), nil)
		return
	}
	lines := outer + string(p.src[b.TypeRange.Start.Byte:b.OpenBraceRange.End.Byte]) + p.made("\n")
	for name, a := range b.Body.Attributes {
		if name != replaced {
			lines += s.Indent + string(p.src[a.SrcRange.Start.Byte:a.SrcRange.End.Byte]) + p.made("\n")
		}
	}
	lines += p.made(body.HCL(s) + outer + "}\n")
	p.replace(b.Range(), outer, lines)
}

// checkIterators refuses text in the content of a dynamic block that Nomad would take for a
// reference to its iterator, such as ${node.unique.name} if the iterator is called node.
func (p *patch) checkIterators(b block, body sidecar.Body) {
	if len(b.in.scope.iterators) == 0 {
		return
	}
	for _, name := range references(body.HCL(p.style)) {
		if _, taken := b.in.scope.iterators[name]; taken {
			p.diags = append(p.diags, diagnostic.Error(b.DefRange(), "Cannot edit the job",
				fmt.Sprintf("Injection adds text that refers to %q, which is the iterator of a dynamic block here. Set iterator to another name.", name)))
			return
		}
	}
}

// references returns the root names that the attributes of a generated text refer to.
func references(text string) []string {
	file, diags := hclsyntax.ParseConfig([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		return nil
	}
	var names []string
	var visit func(*hclsyntax.Body)
	visit = func(body *hclsyntax.Body) {
		for _, a := range body.Attributes {
			for _, t := range a.Expr.Variables() {
				names = append(names, t.RootName())
			}
		}
		for _, b := range body.Blocks {
			visit(b.Body)
		}
	}
	visit(file.Body.(*hclsyntax.Body))
	return names
}

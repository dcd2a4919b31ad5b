package hcljob

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

const (
	beginMark = "#sidecar> added by nomad-sidecar, up to #sidecar<"
	endMark   = "#sidecar<" // followed by a seal
	// begin identifies a begin mark.
	begin = "#sidecar>"
	// anyMark begins every mark.
	anyMark = "#sidecar"
	// disabledMark precedes each disabled line of the user.
	disabledMark = "#sidecar|"
)

// Eject removes all added lines and restores all replaced lines: for every job file j, Eject of
// the injected j is j. A file without marks is returned unchanged. Unpaired marks are errors, and
// so are lines between marks that injection did not write: they were edited, or the marks were
// put around lines of the job itself.
func Eject(src []byte, filename string) ([]byte, hcl.Diagnostics) { return eject(src, filename, true) }

// eject checks seals only if sealed is set.
func eject(src []byte, filename string, sealed bool) ([]byte, hcl.Diagnostics) {
	if !bytes.Contains(src, []byte(anyMark)) {
		return src, nil
	}
	if bad := bounds.Size(src, filename, bounds.HCLBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	tokens, diags := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	e := &ejection{src: src, sealed: sealed}
	for i := range tokens {
		t := &tokens[i]
		if t.Type != hclsyntax.TokenComment {
			continue
		}
		if line, alone := lineStart(src, t.Range.Start.Byte); alone {
			if diags := e.comment(t, line); diags.HasErrors() {
				return nil, diags
			}
		}
	}
	if e.open != nil {
		return nil, unpaired(e.open, "A begin mark has no end mark.")
	}
	if diags := e.endRun(); diags.HasErrors() {
		return nil, diags
	}
	return append(e.out, src[e.last:]...), nil
}

// ejection is one pass over a file.
type ejection struct {
	src    []byte
	sealed bool
	out    []byte
	last   int              // offset of the first unprocessed byte
	open   *hclsyntax.Token // the open begin mark
	body   int              // offset of the lines after it
	run    []*hclsyntax.Token
}

// comment processes a comment that is alone on its line; line is the offset of that line.
func (e *ejection) comment(t *hclsyntax.Token, line int) hcl.Diagnostics {
	end := lineEnd(e.src, t.Range.Start.Byte)
	switch {
	case bytes.HasPrefix(t.Bytes, []byte(begin)):
		if e.open != nil {
			return unpaired(t, "A begin mark follows another one without an end mark between them.")
		}
		if len(e.run) > 0 && e.runEnd() != line {
			if diags := e.endRun(); diags.HasErrors() {
				return diags
			}
		}
		e.out = append(e.out, e.src[e.last:line]...)
		e.open, e.body = t, end
	case bytes.HasPrefix(t.Bytes, []byte(endMark)):
		if e.open == nil {
			return unpaired(t, "An end mark has no begin mark.")
		}
		if diags := e.endPart(t, e.src[e.body:line]); diags.HasErrors() {
			return diags
		}
		e.last, e.open = end, nil
	case bytes.HasPrefix(t.Bytes, []byte(disabledMark)) && e.open == nil:
		if len(e.run) > 0 && e.runEnd() != line {
			if diags := e.endRun(); diags.HasErrors() {
				return diags
			}
		}
		e.out = append(e.out, e.src[e.last:line]...)
		e.last = t.Range.Start.Byte + len(disabledMark)
		e.run = append(e.run, t)
	}
	return nil
}

func unpaired(t *hclsyntax.Token, what string) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Broken injection marks", Subject: t.Range.Ptr(),
		Detail: what + " Restore the comments that begin with #sidecar, or remove them together with the added lines.",
	}}
}

// lineStart returns the start of the line at a byte, and whether only blanks precede the byte.
func lineStart(src []byte, at int) (int, bool) {
	start := bytes.LastIndexByte(src[:at], '\n') + 1
	return start, len(bytes.TrimLeft(src[start:at], " \t")) == 0
}

// lineEnd returns the start of the line after the one at a byte.
func lineEnd(src []byte, at int) int {
	if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(src)
}

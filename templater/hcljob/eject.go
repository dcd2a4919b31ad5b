package hcljob

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

const (
	beginMark = "#sidecar> added by nomad-sidecar, up to #sidecar<"
	endMark   = "#sidecar<" // and a seal
	// begin is what a begin mark is recognised by.
	begin = "#sidecar>"
	// anyMark is what all of them begin with.
	anyMark = "#sidecar"
	// kept precedes each line of the user's that was taken out of effect.
	kept = "#sidecar|"
)

// Eject takes out all that injection added and puts back what it replaced: for
// every job file j, Eject of the injected j is j. A file without marks comes out
// as it is. Marks that do not pair up are errors, and so are lines between them that are
// not those that injection wrote there: somebody has edited them, or has put marks
// around lines of the job's own.
func Eject(src []byte, filename string) ([]byte, hcl.Diagnostics) { return eject(src, filename, true) }

// eject looks at seals only where it is told to.
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

// ejection is one run through a file.
type ejection struct {
	src    []byte
	sealed bool
	out    []byte
	last   int              // bytes before it are dealt with
	open   *hclsyntax.Token // the begin mark that waits for its end
	body   int              // where the lines after it begin
	run    []*hclsyntax.Token
}

// comment deals with one that stands alone on the line that begins there.
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
	case bytes.HasPrefix(t.Bytes, []byte(kept)) && e.open == nil:
		if len(e.run) > 0 && e.runEnd() != line {
			if diags := e.endRun(); diags.HasErrors() {
				return diags
			}
		}
		e.out = append(e.out, e.src[e.last:line]...)
		e.last = t.Range.Start.Byte + len(kept)
		e.run = append(e.run, t)
	}
	return nil
}

func unpaired(t *hclsyntax.Token, what string) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Broken marks of an injection", Subject: t.Range.Ptr(),
		Detail: what + " Put the comments that begin with #sidecar back as they were, or remove them together with the lines that were added.",
	}}
}

// lineStart returns where the line of a byte begins, and whether only blanks
// stand before the byte.
func lineStart(src []byte, at int) (int, bool) {
	start := bytes.LastIndexByte(src[:at], '\n') + 1
	return start, len(bytes.TrimLeft(src[start:at], " \t")) == 0
}

// lineEnd returns where the line after that of a byte begins.
func lineEnd(src []byte, at int) int {
	if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(src)
}

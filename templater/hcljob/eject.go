package hcljob

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

const (
	beginMark = "#sidecar> added by nomad-sidecar, up to #sidecar<"
	endMark   = "#sidecar<"
	// begin is what a begin mark is recognised by.
	begin = "#sidecar>"
	// anyMark is what all of them begin with.
	anyMark = "#sidecar"
	// kept precedes each line of the user's that was taken out of effect.
	kept = "#sidecar|"
)

// Eject takes out all that injection added and puts back what it replaced: for
// every job file j, Eject of the injected j is j. A file without marks comes out
// as it is. Marks that do not pair up are errors.
func Eject(src []byte, filename string) ([]byte, hcl.Diagnostics) {
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
	var out []byte
	last := 0 // bytes before it are dealt with
	var open *hclsyntax.Token
	for i := range tokens {
		t := &tokens[i]
		if t.Type != hclsyntax.TokenComment {
			continue
		}
		line, alone := lineStart(src, t.Range.Start.Byte)
		switch {
		case !alone:
		case bytes.HasPrefix(t.Bytes, []byte(begin)):
			if open != nil {
				return nil, unpaired(t, "A begin mark follows another one without an end mark between them.")
			}
			out = append(out, src[last:line]...)
			open = t
		case bytes.HasPrefix(t.Bytes, []byte(endMark)):
			if open == nil {
				return nil, unpaired(t, "An end mark has no begin mark.")
			}
			last, open = lineEnd(src, t.Range.Start.Byte), nil
		case bytes.HasPrefix(t.Bytes, []byte(kept)) && open == nil:
			out = append(out, src[last:line]...)
			last = t.Range.Start.Byte + len(kept)
		}
	}
	if open != nil {
		return nil, unpaired(open, "A begin mark has no end mark.")
	}
	return append(out, src[last:]...), nil
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

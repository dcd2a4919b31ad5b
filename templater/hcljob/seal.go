package hcljob

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// A seal in each end mark covers the lines between the marks and the lines disabled for them,
// without blanks, since "nomad fmt" moves lines.
type seal struct{ hash.Hash }

func newSeal(part []byte) seal {
	s := seal{sha256.New()}
	s.add(part)
	return s
}

func (s seal) add(text []byte) {
	words := make([]byte, 0, len(text))
	for _, b := range text {
		if b != ' ' && b != '\t' && b != '\r' {
			words = append(words, b)
		}
	}
	s.Write(words) // never fails
}

func (s seal) String() string { return "sha256:" + hex.EncodeToString(s.Sum(nil)[:8]) }

// sealOf returns the seal of added lines and the disabled lines that they replace.
func sealOf(part, replaced []byte) string {
	s := newSeal(part)
	lines := bytes.SplitAfter(replaced, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		if len(lines[i]) > 0 {
			s.add(bytes.TrimSuffix(lines[i], []byte("\n")))
		}
	}
	return s.String()
}

// endPart checks the lines between two marks. The other disabled lines before them must be
// sidecar blocks.
func (e *ejection) endPart(end *hclsyntax.Token, part []byte) hcl.Diagnostics {
	run := e.run
	if !e.sealed {
		e.run = nil
		return nil
	}
	want := string(bytes.TrimSpace(bytes.TrimPrefix(end.Bytes, []byte(endMark))))
	s := newSeal(part)
	for left := len(run); ; left-- {
		if s.String() == want {
			e.run = run[:left]
			return e.endRun()
		}
		if left == 0 {
			return edited(*e.open, "The lines between the comments #sidecar> and #sidecar< differ from those that injection wrote, or the lines behind #sidecar| before them differ from those that it replaced")
		}
		s.add(bytes.TrimRight(e.line(run[left-1]), "\n"))
	}
}

// line returns the line that a comment disables.
func (e *ejection) line(t *hclsyntax.Token) []byte {
	return e.src[t.Range.Start.Byte+len(disabledMark) : lineEnd(e.src, t.Range.Start.Byte)]
}

// runEnd returns the offset of the line after the last disabled one.
func (e *ejection) runEnd() int { return lineEnd(e.src, e.run[len(e.run)-1].Range.Start.Byte) }

// endRun checks disabled lines without a replacement: sidecar blocks.
func (e *ejection) endRun() hcl.Diagnostics {
	run := e.run
	e.run = nil
	if len(run) == 0 || !e.sealed {
		return nil
	}
	var text []byte
	for _, t := range run {
		text = append(text, e.line(t)...)
	}
	ours := bounds.HCL(text, "", bounds.HCLBytes) == nil
	if ours {
		file, diags := hclsyntax.ParseConfig(text, "", hcl.InitialPos)
		body := file.Body.(*hclsyntax.Body)
		ours = !diags.HasErrors() && len(body.Attributes) == 0 && len(body.Blocks) > 0
		for _, b := range body.Blocks {
			ours = ours && madeBy(b) == "sidecar"
		}
	}
	if !ours {
		return edited(*run[0], "The lines behind #sidecar| are not a sidecar block, and injection did not replace them")
	}
	return nil
}

func edited(at hclsyntax.Token, what string) hcl.Diagnostics {
	return hcl.Diagnostics{diagnostic.Error(at.Range, "Edited or forged injection",
		what+": they were edited, or the comments were written by hand. They are not removed, since they may belong to the job. Put them back as they were; or remove these comments, and the lines that you do not want.")}
}

package sidecar

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// digest hashes the tokens of a definition without comments and line ends, with the
// attributes of each body sorted by name, and without documentation texts.
func digest(src []byte, b *hcl.Block) string {
	h := sha256.New()
	fmt.Fprintf(h, "sidecar %q\n", b.Labels[0])
	digestBody(h, src, b.Body.(*hclsyntax.Body), true)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// digestBody hashes a body; prose means that attributes and blocks of the definition language may be
// documentation.
func digestBody(h io.Writer, src []byte, b *hclsyntax.Body, prose bool) {
	attributes := sortedAttributes(b)
	slices.SortFunc(attributes, func(x, y *hclsyntax.Attribute) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	for _, a := range attributes {
		if prose && informs(a.Name) {
			continue
		}
		fmt.Fprintf(h, "attr %q\n", a.Name)
		digestExpression(h, src, a.Expr)
	}
	for _, blk := range b.Blocks {
		if prose && informs(blk.Type) {
			continue
		}
		fmt.Fprintf(h, "block %q %q {\n", blk.Type, blk.Labels)
		digestBody(h, src, blk.Body, prose && isOurs(blk.Type))
		fmt.Fprintf(h, "}\n")
	}
}

// digestExpression hashes the tokens of an expression.
func digestExpression(h io.Writer, src []byte, e hclsyntax.Expression) {
	r := e.Range()
	// The whole file was lexed without errors, so its parts are as well.
	tokens, _ := hclsyntax.LexExpression(src[r.Start.Byte:r.End.Byte], "", hcl.InitialPos)
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenComment, hclsyntax.TokenNewline, hclsyntax.TokenEOF:
		default:
			fmt.Fprintf(h, "token %d %q\n", t.Type, t.Bytes)
		}
	}
}

// informs reports whether an attribute or a block of the definition language is documentation.
func informs(name string) bool {
	switch name {
	case "summary", "description", "example", "deprecated":
		return true
	}
	return false
}

// isOurs reports whether a block type belongs to the definition language, not to Nomad.
func isOurs(blockType string) bool {
	switch blockType {
	case "parameter", "api", "port", "directory", "env", "signal", "requires", "output":
		return true
	}
	return false
}

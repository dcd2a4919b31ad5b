package bounds

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// HCL returns an error if a file is too long or nests too deeply.
func HCL(src []byte, name string, most int) *hcl.Diagnostic {
	if d := Size(src, name, most); d != nil {
		return d
	}
	if plain(src) {
		tokens, _ := hclsyntax.LexConfig(withoutWords(src), name, hcl.InitialPos)
		if levels(tokens) == nil {
			return nil
		}
	}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // errors are left to the parser
	return levels(tokens)
}

// plain reports whether identifiers are irrelevant for nesting. Heredoc delimiters and
// template directives are relevant.
func plain(src []byte) bool {
	return !bytes.Contains(src, []byte("<<")) && !bytes.Contains(src, []byte("%{"))
}

// withoutWords replaces each run of letters, digits and blanks by one blank. It nests at
// least as deep as the source and lexes in a fraction of the time, most of which is
// spent on the columns of identifiers.
func withoutWords(src []byte) []byte {
	out := make([]byte, 0, len(src)/2)
	blank := false
	for _, c := range src {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == ' ', c == '\t', c >= 0x80:
			if !blank {
				out = append(out, ' ')
			}
			blank = true
		default:
			out, blank = append(out, c), false
		}
	}
	return out
}

// Expression is HCL for a single expression.
func Expression(src []byte, name string) *hcl.Diagnostic {
	tokens, _ := hclsyntax.LexExpression(src, name, hcl.InitialPos)
	return levels(tokens)
}

// Template is HCL for the text of a template without quotes.
func Template(src []byte, name string) *hcl.Diagnostic {
	tokens, _ := hclsyntax.LexTemplate(src, name, hcl.InitialPos)
	return levels(tokens)
}

// nesting counts the stack levels that a parser or an evaluation needs at a token.
type nesting struct {
	open   []frame
	levels int
}

// frame is the content between a pair of brackets. Chain counts the operators,
// indices and calls of the current item: each may contain the one before it.
type frame struct {
	lines bool // a line feed begins a new item
	chain int
}

func levels(tokens hclsyntax.Tokens) *hcl.Diagnostic {
	n := &nesting{open: []frame{{lines: true}}}
	for i, t := range tokens {
		n.token(tokens, i)
		if n.levels > Levels {
			return tooDeep(t.Range)
		}
	}
	return nil
}

func (n *nesting) token(tokens hclsyntax.Tokens, i int) {
	switch tokens[i].Type {
	case hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOBrace:
		n.push(tokens[i].Type == hclsyntax.TokenOBrace)
	case hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp:
		n.push(false)
	case hclsyntax.TokenTemplateControl:
		n.chain(opens(tokens, i))
		n.push(false)
	case hclsyntax.TokenCBrack, hclsyntax.TokenCParen:
		n.pop()
		n.chain(1) // an index or a call contains its operand
	case hclsyntax.TokenCBrace, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
		n.pop()
	case hclsyntax.TokenComma:
		n.chain(-n.top().chain)
	case hclsyntax.TokenNewline, hclsyntax.TokenComment: // a comment includes its line feed
		if n.top().lines && bytes.HasSuffix(tokens[i].Bytes, []byte("\n")) {
			n.chain(-n.top().chain)
		}
	case hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr,
		hclsyntax.TokenBang, hclsyntax.TokenQuestion:
		n.chain(1)
	}
}

// opens returns 1 for a template directive that contains the following text, up to
// another one for which it returns -1.
func opens(tokens hclsyntax.Tokens, i int) int {
	if i+1 < len(tokens) {
		switch string(tokens[i+1].Bytes) {
		case "if", "for":
			return 1
		case "endif", "endfor":
			return -1
		}
	}
	return 0
}

func (n *nesting) top() *frame { return &n.open[len(n.open)-1] }

func (n *nesting) chain(by int) {
	n.top().chain += by
	n.levels += by
}

func (n *nesting) push(lines bool) {
	n.open = append(n.open, frame{lines: lines})
	n.levels++
}

// pop closes a bracket. Unbalanced brackets are left to the parser.
func (n *nesting) pop() {
	if len(n.open) > 1 {
		n.levels -= n.top().chain + 1
		n.open = n.open[:len(n.open)-1]
	}
}

package sidecardoc

import (
	"html/template"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// highlight renders HCL as HTML with spans of class k (block type), a
// (attribute), s (string), n (number and other literals) and c (comment). Text that
// is not HCL has no spans. All text is escaped.
func highlight(src string) template.HTML {
	tokens, _ := hclsyntax.LexConfig([]byte(src), "", hcl.InitialPos) // tokens with errors get no class
	var out strings.Builder
	at := 0
	for i, token := range tokens {
		from, to := token.Range.Start.Byte, token.Range.End.Byte
		out.WriteString(template.HTMLEscapeString(src[at:from]))
		at = to
		text := template.HTMLEscapeString(src[from:to])
		if class := classOf(tokens, i); class != "" {
			text = `<span class="` + class + `">` + text + `</span>`
		}
		out.WriteString(text)
	}
	out.WriteString(template.HTMLEscapeString(src[at:]))
	return template.HTML(out.String()) // all text went through HTMLEscapeString
}

func classOf(tokens hclsyntax.Tokens, i int) string {
	switch tokens[i].Type {
	case hclsyntax.TokenComment:
		return "c"
	case hclsyntax.TokenNumberLit:
		return "n"
	case hclsyntax.TokenOQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenCQuote,
		hclsyntax.TokenOHeredoc, hclsyntax.TokenStringLit, hclsyntax.TokenCHeredoc:
		return "s"
	case hclsyntax.TokenIdent:
		return classOfWord(tokens, i)
	}
	return ""
}

// classOfWord determines the class of an identifier from its neighbours.
func classOfWord(tokens hclsyntax.Tokens, i int) string {
	first := i == 0 || tokens[i-1].Type == hclsyntax.TokenNewline || tokens[i-1].Type == hclsyntax.TokenOBrace || tokens[i-1].Type == hclsyntax.TokenComment
	switch next := tokens[i+1].Type; { // the last token is always EOF
	case next == hclsyntax.TokenEqual:
		return "a"
	case first && (next == hclsyntax.TokenOBrace || next == hclsyntax.TokenOQuote):
		return "k"
	}
	switch string(tokens[i].Bytes) {
	case "true", "false", "null":
		return "n"
	}
	return ""
}

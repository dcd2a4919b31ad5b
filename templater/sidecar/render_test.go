package sidecar

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"
)

func drawString(t *rapid.T, name string) string {
	if rapid.Bool().Draw(t, name+" any") {
		return rapid.String().Draw(t, name)
	}
	return rapid.StringOf(rapid.SampledFrom([]rune("$${}%%{}~\"\\\n\n\r\t \u00a0\u200b\U000e0001EOT<#a"))).Draw(t, name)
}

func TestARenderedStringIsTheString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := cty.StringVal(drawString(t, "string"))
		src := "x = " + Value(want, Style{Indent: "  ", Heredoc: rapid.Bool().Draw(t, "heredoc")}) + "\n"
		f, diags := hclsyntax.ParseConfig([]byte(src), "x", hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprintf("%s in %s", diags, src))
		attrs, _ := f.Body.JustAttributes()
		got, diags := attrs["x"].Expr.Value(nil)
		must.False(t, diags.HasErrors(), must.Sprintf("%s in %s", diags, src))
		must.Eq(t, want.AsString(), got.AsString())
	})
}

func TestARenderedBlockIsTheBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, s := drawString(t, "key"), drawString(t, "value")
		value := cty.ObjectVal(map[string]cty.Value{
			key:   cty.TupleVal([]cty.Value{cty.StringVal(s), cty.NumberFloatVal(1.5), cty.True, cty.EmptyTupleVal, cty.EmptyObjectVal}),
			"for": cty.ObjectVal(map[string]cty.Value{"deep": cty.StringVal(s)}),
			"z":   cty.ListVal([]cty.Value{cty.StringVal(strings.Repeat("long ", 20))}),
		})
		b := &Block{Type: "b", Labels: []string{s}, Body: Body{&Attr{Name: "x", Value: value}, &Block{Type: "c"}}}
		src := b.HCL(Style{Indent: "    ", Heredoc: true})
		f, diags := hclsyntax.ParseConfig([]byte(src), "x", hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprintf("%s in %s", diags, src))
		got := f.Body.(*hclsyntax.Body).Blocks[0]
		must.Eq(t, s, got.Labels[0])
		v, diags := got.Body.Attributes["x"].Expr.Value(nil)
		must.False(t, diags.HasErrors(), must.Sprintf("%s in %s", diags, src))
		for name, want := range value.AsValueMap() {
			have := v.GetAttr(name)
			must.Eq(t, want.LengthInt(), have.LengthInt())
			must.Eq(t, Value(want, Style{}), Value(have, Style{}))
		}
	})
}

func TestAttributesAreAligned(t *testing.T) {
	b := &Block{Type: "env", Body: Body{
		&Attr{Name: "A", Value: cty.StringVal("x")},
		&Attr{Name: "LONG", Value: cty.NumberIntVal(1)},
		&Attr{Name: "text", Value: cty.StringVal("a\n${b}\n")},
	}}
	must.Eq(t, "env {\n  A    = \"x\"\n  LONG = 1\n  text = <<EOT\na\n$${b}\nEOT\n}\n", b.HCL(Style{Heredoc: true}))
}

func TestNumbersAreWrittenOut(t *testing.T) {
	for text, want := range map[string]string{"8443": "8443", "1000000": "1000000", "0.25": "0.25"} {
		must.Eq(t, want, Value(cty.MustParseNumberVal(text), Style{}))
	}
}

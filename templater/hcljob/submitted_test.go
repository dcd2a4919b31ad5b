package hcljob

import (
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
)

func TestSubmitted(t *testing.T) {
	src := []byte(`variable "text" { type = string }
variable "untyped" {}
variable "number" { type = number }
variable "list" { type = list(string) }
variable "object" { type = object({ a = number }) }
variable "literal" { type = string }
variable "filed" { type = list(string) }
job "x" {}
`)
	flags, text := Submitted(src, Inputs{
		Vars: []string{"text=first", "text=a=b", `list=["x"]`, "object={ a = 1 }", "literal=${attr.cpu} %{x} $${y}"},
		Env:  []string{"NOMAD_VAR_number=1", "NOMAD_VAR_text=env", "NOMAD_VAR_foreign=1", "HOME=/root"},
	}, [][]byte{
		[]byte("text = \"file\"\nfiled = [\"1\"]\nuntyped = \"u\"\n"),
		[]byte("filed = [\"2\"]"),
	})
	must.Eq(t, map[string]string{"text": "a=b", "number": "1"}, flags)
	must.Eq(t, "untyped = \"u\"\nfiled = [\"2\"]\nliteral = \"$${attr.cpu} %%{x} $$${y}\"\nobject = { a = 1 }\nlist = [\"x\"]\n", text)
	_, fromJSON := Submitted(src, Inputs{}, [][]byte{[]byte(`{"literal": "${attr.cpu}", "object": {"a": 1}, "list": ["x"]}`), []byte("filed = [\"2\"]")})
	must.Eq(t, "list    = [\"x\"]\nliteral = \"$${attr.cpu}\"\nobject = {\n  a = 1\n}\nfiled = [\"2\"]\n", fromJSON)
	f, diags := hclsyntax.ParseConfig([]byte(text), "", hcl.InitialPos)
	must.False(t, diags.HasErrors())
	v, diags := f.Body.(*hclsyntax.Body).Attributes["literal"].Expr.Value(nil)
	must.False(t, diags.HasErrors())
	must.Eq(t, "${attr.cpu} %{x} $${y}", v.AsString())
}

package hcljob

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
)

// FuzzVarFile: no variable file crashes the reader, in HCL and JSON.
func FuzzVarFile(f *testing.F) {
	f.Add("a = 1\nb = [\"x\", 2]\n")
	f.Add(`{"a": 1e999999, "b": {"c": [[[[]]]]}}`)
	f.Add("a = file(\"/etc/passwd\")\n")
	f.Add("a = \"${a}\"\nundeclared = 1\n")
	job, diags := hclsyntax.ParseConfig([]byte("variable \"a\" {\n type = number\n}\nvariable \"b\" {}\njob \"j\" {\n priority = var.a\n}\n"), "job", hcl.InitialPos)
	must.False(f, diags.HasErrors())
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"x.hcl", "x.json"} {
			path := filepath.Join(t.TempDir(), name)
			must.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			s, _ := newScope(job, Inputs{VarFiles: []string{path}})
			must.NotNil(t, s.ctx)
		}
	})
}

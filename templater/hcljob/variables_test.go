package hcljob

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestParse_InvalidVariables(t *testing.T) {
	const job = "variable \"s\" {\n  default = \"x\"\n}\njob \"j\" {}\n"
	dir := t.TempDir()
	file := func(name, text string) Inputs {
		path := filepath.Join(dir, name)
		must.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return Inputs{VarFiles: []string{path}}
	}
	for name, c := range map[string]struct {
		in   Inputs
		want string
	}{
		"no value":       {Inputs{Vars: []string{"s"}}, "-var s: there is no \"=\". Give -var NAME=VALUE."},
		"no declaration": {Inputs{Vars: []string{"t=1"}}, "the job has no variable \"t\""},
		"JSON with BOM":  {file("bom.json", "\ufeff{\"s\": \"y\"}"), "begins with a byte order mark"},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := Parse([]byte(job), "job.hcl", c.in)
			must.Len(t, 1, diags)
			must.StrContains(t, diags[0].Detail, c.want)
		})
	}
	f, diags := Parse([]byte(job), "job.hcl", file("bom.hcl", "\ufeffs = \"y\"\n")) // Nomad accepts it in HCL
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	_, diags = f.JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
}

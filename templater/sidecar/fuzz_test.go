package sidecar

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
)

// FuzzDefinition looks for a definition that is neither refused with a place nor
// gives the same each time, in HCL that can be read.
func FuzzDefinition(f *testing.F) {
	files, err := filepath.Glob("../testdata/catalog/*" + Suffix)
	must.NoError(f, err)
	must.SliceNotEmpty(f, files)
	for _, file := range files {
		src, err := os.ReadFile(file)
		must.NoError(f, err)
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, diags := Parse(src, "x.sidecar.hcl")
		if d == nil {
			must.True(t, diags.HasErrors())
			for _, diag := range diags {
				must.NotNil(t, diag.Subject, must.Sprint(diag))
			}
			return
		}
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		same, _ := Parse(src, "y.sidecar.hcl")
		must.Eq(t, d.Digest, same.Digest)
		_ = d.Lint()
		inst := d.Sample()
		if inst == nil {
			return
		}
		want := rendered(inst)
		must.Eq(t, want, rendered(same.Sample()))
		_, diags = hclsyntax.ParseConfig([]byte(want), "rendered", hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprintf("%s\n%s", diags, want))
	})
}

// rendered is all that an instance brings, as it is put into a job file.
func rendered(inst *Instance) string {
	out := ""
	for _, blocks := range [][]*Block{inst.Tasks, inst.Services, inst.Volumes, inst.App} {
		for _, b := range blocks {
			out += b.HCL(Style{Runtime: true, Heredoc: true})
		}
	}
	return out
}

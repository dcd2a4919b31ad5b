package sidecartest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// TestRun_Catalog runs the tests of the built-in definitions.
func TestRun_Catalog(t *testing.T) {
	const dir = "../../jobs/sidecars"
	c := &sidecar.Catalog{}
	diags := c.Load(os.DirFS(dir), dir)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	files, err := Find(dir)
	must.NoError(t, err)
	must.SliceNotEmpty(t, files)
	for _, file := range files {
		tests, _, diags := Load(file)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		for _, test := range tests {
			t.Run(filepath.Base(file)+"/"+test.Name, func(t *testing.T) {
				for _, failure := range test.Run(c, false) {
					t.Error(failure)
				}
			})
		}
	}
}

func TestCheckExamples_Catalog(t *testing.T) {
	const dir = "../../jobs/sidecars"
	c := &sidecar.Catalog{}
	diags := c.Load(os.DirFS(dir), dir)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	for _, d := range c.Definitions() {
		must.SliceNotEmpty(t, d.Examples, must.Sprint(d.Name))
		must.SliceEmpty(t, d.Lint(), must.Sprint(d.Name))
		must.SliceEmpty(t, CheckExamples(d, c), must.Sprint(d.Name))
	}
}

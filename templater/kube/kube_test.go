package kube_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

var update = flag.Bool("update", false, "rewrite golden files")

// load imports files of testdata.
func load(t *testing.T, names ...string) (*kube.Result, hcl.Diagnostics) {
	t.Helper()
	var files []kube.Source
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		must.NoError(t, err)
		files = append(files, kube.Source{Name: name, Bytes: text})
	}
	return kube.Import(files, kube.Options{})
}

// parse parses a job as Nomad does.
func parse(t *testing.T, text []byte) *api.Job {
	t.Helper()
	job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: text, Strict: true})
	must.NoError(t, err, must.Sprint(string(text)))
	return job
}

// report is the output of an import: the jobs, and a line for each finding.
func report(result *kube.Result) string {
	var out strings.Builder
	for _, j := range result.Jobs {
		out.Write(j.Text)
		out.WriteString("\n")
	}
	for _, f := range result.Findings {
		fmt.Fprintf(&out, "# %s:%d: %s: %s %s\n", f.Range.Filename, f.Range.Start.Line, f.Fate, f.Document, f.Path)
	}
	return out.String()
}

// Each file of the corpus gives its golden jobs, which Nomad parses.
func TestImport_Corpus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	must.NoError(t, err)
	must.SliceNotEmpty(t, files)
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			result, diags := load(t, name)
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			for _, j := range result.Jobs {
				job := parse(t, j.Text)
				must.Eq(t, j.Name, *job.ID)
			}
			golden := strings.TrimSuffix(path, ".yaml") + ".golden.hcl"
			if *update {
				must.NoError(t, os.WriteFile(golden, []byte(report(result)), 0o644))
			}
			want, err := os.ReadFile(golden)
			must.NoError(t, err)
			must.Eq(t, string(want), report(result))
		})
	}
}

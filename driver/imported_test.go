package driver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/helper/pluginutils/hclspecutils"
	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// importedJobs parses the jobs that the importer generates from Kubernetes manifests.
func importedJobs(t *testing.T) (jobs []*api.Job) {
	t.Helper()
	files, err := filepath.Glob("../templater/kube/testdata/*.golden.hcl")
	must.NoError(t, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		file, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		body, ok := file.Body.(*hclsyntax.Body)
		must.True(t, ok)
		for _, b := range body.Blocks {
			r := b.Range()
			job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: path, Body: r.SliceBytes(text), Strict: true})
			must.NoError(t, err)
			jobs = append(jobs, job)
		}
	}
	return jobs
}

// The driver decodes the config of every imported task, and accepts those that have checks. The
// others may depend on the operator's configuration and on paths of the host.
func TestTaskFrom_ImportedJobs(t *testing.T) {
	jobs, live := importedJobs(t), 0
	for _, job := range jobs {
		for _, task := range job.TaskGroups[0].Tasks {
			cfg := concrete(t, task)
			if task.Config["live"] == nil && task.Config["ready"] == nil {
				continue
			}
			got, err := permissive(t).taskFrom(cfg, cgroup.V2)
			must.NoError(t, err, must.Sprintf("job %s, task %s", *job.ID, task.Name))
			if got.Live != nil {
				live++
			}
		}
	}
	must.Greater(t, 5, live)
}

// concrete evaluates a task's config as a client does.
func concrete(t *testing.T, task *api.Task) *drivers.TaskConfig {
	t.Helper()
	spec, diags := hclspecutils.Convert(taskConfigSpec())
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	vars := map[string]cty.Value{"NOMAD_ALLOC_INDEX": cty.StringVal("0"), "NOMAD_ALLOC_ID": cty.StringVal("a")}
	for name := range task.Env {
		vars[name] = cty.StringVal("x")
	}
	value, diags, errs := hclutils.ParseHclInterface(task.Config, spec, vars)
	must.False(t, diags.HasErrors(), must.Sprint(task.Name, diags, errs))
	cfg := taskConfig(t, TaskConfig{})
	cfg.Name, cfg.User = task.Name, task.User
	must.NoError(t, cfg.EncodeDriverConfig(value))
	return cfg
}

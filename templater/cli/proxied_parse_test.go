package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
)

const blocksJob = `variable "level" {}
job "web" {
  type = "batch"
  parameterized {}
  sidecar "beside" {}
  group "g" {
    task "app" {
      driver = "pod"
      env {
        LEVEL = var.level
      }
    }
  }
}
`

// A client that lets Nomad parse the job file, plans and registers the result, as Nomad's UI,
// nomad-pack and Terraform do, gets the job that inject makes of the file, and the next plan is empty.
func TestProxied_ParsedJob(t *testing.T) {
	p := newProxied(t)
	direct, through := p.client(p.nomad), p.client(p.front("1.0.0"))
	_, err := direct.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: blocksJob, Variables: `level = "debug"`})
	must.ErrorContains(t, err, `Blocks of type "sidecar" are not expected here`)
	change := "Added"
	for _, canonical := range []bool{true, false} {
		parsed, err := through.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: blocksJob, Variables: `level = "debug"`, Canonicalize: canonical})
		must.NoError(t, err)
		planned, _, err := through.Jobs().Plan(parsed, true, nil)
		must.NoError(t, err)
		must.Eq(t, change, planned.Diff.Type)
		_, _, err = through.Jobs().RegisterOpts(parsed, &api.RegisterOptions{Submission: &api.JobSubmission{Source: blocksJob, Format: "hcl2", Variables: `level = "debug"`}}, nil)
		must.NoError(t, err)
		change = "None"
		planned, _, err = through.Jobs().Plan(parsed, true, nil)
		must.NoError(t, err)
		must.Eq(t, change, planned.Diff.Type)
	}
	stored, _, err := direct.Jobs().Info("web", nil)
	must.NoError(t, err)
	must.Len(t, 2, stored.TaskGroups[0].Tasks)
	must.Eq(t, "block", stored.TaskGroups[0].Tasks[1].Meta["sidecar.origin"])
	must.Eq(t, "debug", stored.TaskGroups[0].Tasks[0].Env["LEVEL"])
	must.Zero(t, *stored.Version) // the second form of the job is the same job
	kept, _, err := direct.Jobs().Submission("web", 0, nil)
	must.NoError(t, err)
	must.Eq(t, blocksJob, kept.Source)

	// The same job, injected as a file and sent to Nomad itself.
	var out, wrong bytes.Buffer
	inject := &cli.Program{Version: "0", Args: []string{"inject", "-catalog", p.path("1.0.0"), "-"}, Stdin: strings.NewReader(blocksJob), Stdout: &out, Stderr: &wrong}
	must.Zero(t, inject.Run(), must.Sprint(wrong.String()))
	parsed, err := direct.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: out.String(), Variables: `level = "debug"`})
	must.NoError(t, err)
	planned, _, err := direct.Jobs().Plan(parsed, true, nil)
	must.NoError(t, err)
	must.Eq(t, "None", planned.Diff.Type)
}

func (p *proxied) client(address string) *api.Client {
	p.Helper()
	client, err := api.NewClient(&api.Config{Address: address})
	must.NoError(p, err)
	p.Cleanup(client.Close)
	return client
}

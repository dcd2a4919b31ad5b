package cli

import (
	"fmt"
	"os"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// job returns the injected job, ready for Nomad. Its submission is the user's own file, which
// Nomad shows as the job's definition.
func (in *injection) job(o *injectOptions, environ []string) (*cluster.Job, hcl.Diagnostics) {
	j, err := cluster.ReadJob(in.Output)
	if err != nil {
		return nil, failureOf("Cannot read the injected job", err)
	}
	j.Submission, err = in.submission(o, environ)
	if err != nil {
		return nil, failureOf("Cannot read variable file", err)
	}
	return j, nil
}

// submission returns what `nomad job run` sends with the job, so that Nomad's UI can start
// the job again; see hcljob.Submitted.
func (in *injection) submission(o *injectOptions, environ []string) (*api.JobSubmission, error) {
	if isJSON(in.source) {
		return &api.JobSubmission{Source: string(in.source), Format: "json"}, nil
	}
	out := &api.JobSubmission{Source: string(in.source), Format: "hcl2"}
	files := make([][]byte, len(o.varFiles))
	for i, path := range o.varFiles {
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files[i] = src
	}
	out.VariableFlags, out.Variables = hcljob.Submitted(in.source, hcljob.Inputs{Vars: o.vars, Env: environ}, files)
	return out, nil
}

// taskNames returns the tasks of each group after injection.
func (in *injection) taskNames() map[string][]string {
	names := map[string][]string{}
	for _, g := range in.doc.Job().Groups {
		for _, t := range g.Tasks {
			names[g.Name] = append(names[g.Name], t.Name)
		}
	}
	for _, e := range in.Edits {
		if add, ok := e.(*job.AddTask); ok {
			names[add.Group] = append(names[add.Group], add.Task.Label())
		}
	}
	return names
}

// checkIndex is the flag -check-index.
type checkIndex struct{ index *uint64 }

func (c *checkIndex) String() string { return "" }

func (c *checkIndex) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a job modify index", s)
	}
	c.index = &n
	return nil
}

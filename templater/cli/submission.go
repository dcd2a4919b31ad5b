package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
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

// submission returns what `nomad job run` sends with the job, with variables as given:
// variable files concatenated, and -var overriding NOMAD_VAR_.
func (in *injection) submission(o *injectOptions, environ []string) (*api.JobSubmission, error) {
	if isJSON(in.source) {
		return &api.JobSubmission{Source: string(in.source), Format: "json"}, nil
	}
	out := &api.JobSubmission{Source: string(in.source), Format: "hcl2", VariableFlags: map[string]string{}}
	for _, list := range [][]string{prefixed(environ, jobspec2.VarEnvPrefix), o.vars} {
		for _, v := range list {
			if name, value, _ := strings.Cut(v, "="); name != "" {
				out.VariableFlags[name] = value
			}
		}
	}
	for _, path := range o.varFiles {
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out.Variables += string(src) + "\n"
	}
	return out, nil
}

// prefixed returns the entries of an environment with a prefix, without it.
func prefixed(environ []string, prefix string) []string {
	var out []string
	for _, e := range environ {
		if rest, ok := strings.CutPrefix(e, prefix); ok {
			out = append(out, rest)
		}
	}
	return out
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

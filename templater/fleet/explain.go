package fleet

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
)

// Explained is what there is to tell about the sidecars of a stored job.
type Explained struct {
	Job    *templater.Job
	Told   []*templater.Explanation
	Totals []templater.Total // none where a choice is wrong
	// Secrets are texts that whoever shows any of this must leave out.
	Secrets []string
}

// Explain tells of a stored job, in the JSON of Nomad's API, which sidecars are chosen
// for it and why. Where nothing in it chooses one that it has, its marks say what did.
// Errors are only those of a job that cannot be read: what is wrong with a choice is
// told, and Inspect says it.
func (r *Rules) Explain(raw []byte) (*Explained, error) {
	head, err := readHeader(raw)
	if err != nil {
		return nil, err
	}
	name := head.job().Ref().String()
	c, diags := choose(raw, name, r.Catalog, r.Policy, nil)
	if diags.HasErrors() {
		return nil, fmt.Errorf("read job %q: %w", head.ID, diags)
	}
	job, flags := c.File.Job(), templater.Flags{Policy: c.Policy}
	told, more := templater.Explain(job, r.Catalog, flags)
	out := &Explained{Job: job, Told: told, Secrets: templater.Secrets(job, r.Catalog, flags, c.Choices)}
	c.byMarks(out.Told)
	withoutPlaces(out.Told, name)
	if !more.HasErrors() {
		if edits, diags := templater.Plan(job, c.Choices); !diags.HasErrors() {
			out.Totals = templater.Totals(job, edits)
		}
	}
	return out, nil
}

// byMarks explains what the job has though nothing in it chooses it: a block and a flag
// leave no trace but the marks.
func (c *chosen) byMarks(told []*templater.Explanation) {
	for _, e := range told {
		if e.State != templater.StateNotChosen {
			continue
		}
		for _, m := range c.File.Marks() {
			if m.Group == e.Group.Name && m.Mark.Name == e.Sidecar {
				e.Reason = fmt.Sprintf("it is there in version %s, and nothing in the job or the policy chooses it; its marks say: by %s", m.Mark.Version, m.Mark.Origin)
				break
			}
		}
	}
}

// withoutPlaces takes out where something stands in the JSON of a stored job: nobody has
// that as a file.
func withoutPlaces(told []*templater.Explanation, name string) {
	clear := func(s *templater.Source) {
		if s.Range.Filename == name {
			s.Range = hcl.Range{}
		}
	}
	for _, e := range told {
		for i := range e.Sources {
			clear(&e.Sources[i])
		}
		for i := range e.Parameters {
			clear(&e.Parameters[i].Source)
		}
		if e.Group.Range.Filename == name {
			e.Group.Range = hcl.Range{}
		}
	}
}

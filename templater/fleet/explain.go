package fleet

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Explained explains the sidecars of a stored job.
type Explained struct {
	Job     *job.Job
	Told    []*templater.Explanation
	Proxies []*templater.Proxy
	// Defaults are the states of the policy's defaults.
	Defaults []*templater.DefaultState
	Totals   []templater.Total // none if a choice is invalid
	// Secrets are texts that must not be displayed.
	Secrets []string
}

// Explain reports which sidecars are chosen for a stored job, in the JSON of Nomad's API,
// and why. If nothing in the job chooses a sidecar that it has, its marks name the origin.
// It returns errors only if the job is unreadable; invalid choices are part of the
// explanation and reported by Inspect.
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
	out := &Explained{Job: c.Document.Job(), Told: c.Explain(), Defaults: c.Defaults, Secrets: c.Secrets()}
	out.Proxies, _ = templater.Proxies(out.Job, c.Flags) // of which nothing is changed here
	c.byMarks(out.Told)
	withoutPositions(out.Told, name)
	for _, s := range out.Defaults {
		s.Written = hcl.Range{} // in the stored job's JSON as well
	}
	if !c.diags.HasErrors() && !c.Plan().HasErrors() {
		out.Totals = c.Totals()
	}
	return out, nil
}

// byMarks explains sidecars that nothing in the job chooses: blocks and flags are recorded
// only in marks.
func (c *chosen) byMarks(told []*templater.Explanation) {
	for _, e := range told {
		if e.State != templater.StateNotChosen {
			continue
		}
		for _, m := range c.Document.Marks() {
			if m.Group == e.Group.Name && m.Mark.Name == e.Sidecar {
				e.Reason = fmt.Sprintf("version %s is present, but nothing in the job or the policy chooses it; according to its marks it was chosen by %s", m.Mark.Version, m.Mark.Origin)
				break
			}
		}
	}
}

// withoutPositions removes positions in the stored job's JSON, since users have no such file.
func withoutPositions(told []*templater.Explanation, name string) {
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

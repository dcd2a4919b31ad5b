package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// eject returns the job without sidecars.
func (r *Rules) eject(raw []byte, name string) ([]byte, hcl.Diagnostics) {
	file, diags := jsonjob.Parse(raw, name, r.Catalog)
	if diags.HasErrors() {
		return nil, diags
	}
	if diags := job.Altered(file.Marks()); diags.HasErrors() {
		return nil, diags
	}
	out, more := file.Apply(nil)
	return out, append(diags, more...)
}

// remake upgrades all sidecars of a job or removes them.
func (r *Rules) remake(raw []byte, name string, eject bool) ([]byte, hcl.Diagnostics) {
	if eject {
		return r.eject(raw, name)
	}
	return r.inject(raw, name)
}

// holds reports whether the job has sidecars, or some of the requested ones, or proxies with a driver from
// a rule.
func (j *Job) holds() bool {
	return slices.ContainsFunc(j.Sidecars(), func(s *Sidecar) bool { return s.State != StateMissing }) ||
		slices.ContainsFunc(j.Proxies(), func(p *Proxy) bool { return p.State != StateMissing })
}

// refuseEject returns the reason not to eject from a job. A single sidecar cannot be
// ejected, since additions shared by several, such as a namespace, are recorded in the
// marks of one of them.
func (p *Planner) refuseEject(j *Job) string {
	switch {
	case !j.Active():
		return "it is " + j.Activity
	case j.Owner != "" && !p.Owned:
		return fmt.Sprintf("%s registers it and may add them again; remove them there, or pass -owned", j.Owner)
	}
	for _, g := range j.Groups {
		for _, s := range g.Sidecars {
			switch {
			case s.State == StateMissing:
			case s.State == StateDoubtful:
				return fmt.Sprintf("sidecar %s has doubtful marks: %s", s.Name, s.Reason)
			case len(p.Only) > 0 && !slices.Contains(p.Only, s.Name):
				return fmt.Sprintf("group %s has %s as well, and the sidecars of a job can only be removed together; name it too, or run the job file without the others", g.Name, s.Name)
			}
		}
	}
	return ""
}

// describeEject lists the sidecars to remove, and those that policy would inject again.
func (s *Step) describeEject(before, after *Job) {
	for _, g := range before.Groups {
		for _, had := range g.Sidecars {
			if had.State == StateMissing {
				continue
			}
			s.change(g, had, "%s removed", had.Version)
			i := slices.IndexFunc(after.group(g.Name).Sidecars, func(o *Sidecar) bool { return o.Name == had.Name })
			if i >= 0 {
				back := after.group(g.Name).Sidecars[i]
				s.Left = append(s.Left, fmt.Sprintf("group %s: %s returns at the next injection, since %s", g.Name, had.Name, strings.TrimSpace(back.Reason)))
			}
		}
	}
}

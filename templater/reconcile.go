package templater

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Reconcile compares the injected tasks that a job came with to the current choices. If keep is
// true, nothing is chosen, nothing else changes, and the job stays unchanged. Otherwise the choices replace the earlier
// injection. Losing a sidecar is an error, since only the user who chose it by a flag can
// choose it again, and so is losing anything that injection did not write. A sidecar that a
// policy chose is not lost if the policy is consulted again and no longer chooses it.
func Reconcile(marks []job.Marked, choices []*Choice, catalog job.Catalog, policy Policy, changes bool) (keep bool, diags hcl.Diagnostics) {
	if len(marks) == 0 {
		return false, nil
	}
	chosen := map[string]bool{}
	for _, c := range choices {
		chosen[c.Group.Name+"/"+c.Definition.Name] = true
	}
	diags = Doubts(marks, catalog)
	reported, dropped := map[string]bool{}, false
	for _, m := range marks {
		if m.Mark.Origin == OriginPolicy && policy != nil && !chosen[m.Group+"/"+m.Mark.Name] {
			dropped = true
		}
	}
	keep = len(choices) == 0 && !dropped && !changes
	if !keep {
		diags = append(diags, job.Altered(marks)...)
	}
	for _, m := range marks {
		if m.Mark.Doubt(catalog, m.Task) != "" {
			continue
		}
		key := m.Group + "/" + m.Mark.Name
		if keep || chosen[key] || reported[key] {
			continue
		}
		reported[key] = true
		if m.Mark.Origin == OriginPolicy && policy != nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Sidecar removed",
				Detail: fmt.Sprintf("Sidecar %q in group %q was injected by a policy that no longer chooses it.", m.Mark.Name, m.Group)})
			continue
		}
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Sidecar would be lost",
			Detail: fmt.Sprintf("The job contains sidecar %q in group %q (chosen by %s), which nothing chooses now. Choose it again, for example with -with %s, or start from the original job.", m.Mark.Name, m.Group, m.Mark.Origin, m.Mark.Name)})
	}
	return keep, diags
}

// Unrecognized returns an error for each task that has marks but was not recognized as injected, and
// for each such mark of defaults.
func Unrecognized(j *job.Job) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, g := range j.Groups {
		if g.StrayMark != nil {
			diags = append(diags, strayMark(g))
		}
		for _, t := range slices.Concat(g.Tasks, g.Proxies) {
			if d := unrecognized(g, t); d != nil {
				diags = append(diags, d)
			}
		}
	}
	return diags
}

func unrecognized(g *job.Group, t *job.Task) *hcl.Diagnostic {
	m := job.ReadMark(plain(t.Meta, "", func(string, *diagnostic.Unknown) {}))
	if m == nil {
		return nil
	}
	return diagnostic.Error(t.Range, "Task with sidecar marks", fmt.Sprintf("Task %q of group %q has the marks of sidecar %q, but differs from the injected task, or the comments that begin with #sidecar are missing. So it can be neither replaced nor removed, nor treated as an app task. Remove the task, or the sidecar.* keys from its meta.", t.Name, g.Name, m.Name))
}

// strayMark returns an error about a mark of defaults that injection did not write.
func strayMark(g *job.Group) *hcl.Diagnostic {
	return diagnostic.Error(*g.StrayMark, "Mark of defaults", fmt.Sprintf(
		"Group %q has a constraint on %q, which marks defaults of a policy, but injection did not write it, or the comments that begin with #sidecar are missing. So the defaults can be neither replaced nor removed. Remove the constraint, and the values that it names if the job should not have them.", g.Name, job.MarkDefaults))
}

// Doubts returns warnings about marks that cannot be true.
func Doubts(marks []job.Marked, catalog job.Catalog) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, m := range marks {
		if doubt := m.Mark.Doubt(catalog, m.Task); doubt != "" {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Doubtful marks",
				Detail: fmt.Sprintf("Task %q of group %q has the marks of sidecar %q, but %s.", m.Task, m.Group, m.Mark.Name, doubt)})
		}
	}
	return diags
}

// Reveal completes the view of a job file with the view of the evaluated job: groups that the text
// does not show or that cannot be changed as text are taken from evaluated; choices and ranges of
// the rest stay.
func Reveal(text, evaluated *job.Job) *job.Job {
	out := *evaluated
	out.Requests, out.Inherited, out.Range = text.Requests, text.Inherited, text.Range
	if text.MoreMeta == nil {
		out.Meta = text.Meta // with ranges in the file
	}
	out.Groups = nil
	for _, g := range evaluated.Groups {
		seen := text.Group(g.Name)
		switch {
		case seen == nil:
		case len(seen.Opaque) == 0 && !opaqueMesh(seen):
			g = seen
		default:
			c := *g
			c.Requests, c.Inherited, c.Range = seen.Requests, seen.Inherited, seen.Range
			g = &c
		}
		out.Groups = append(out.Groups, g)
	}
	return &out
}

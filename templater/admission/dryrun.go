package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// rehearsed begins the warnings of a policy that is not enforced.
const rehearsed = "Dry run of the policy: "

// rehearse treats a job as if there were no policy, and adds a warning for everything that the
// policy would do.
func (r *Rules) rehearse(ctx context.Context, body []byte, where func(*jsonjob.Request) location) *verdict {
	plain := &Rules{Catalog: r.Catalog, Region: r.Region, Analysis: r.Analysis}
	v := plain.enforce(ctx, body, where)
	if v.denial != nil {
		return v
	}
	would := r.enforce(ctx, body, where)
	v.rehearse(would)
	for _, i := range would.injected {
		if !slices.ContainsFunc(v.injected, func(is Injected) bool { return is.Group == i.Group && is.Sidecar == i.Sidecar }) {
			v.warnings = append(v.warnings, rehearsed+fmt.Sprintf("sidecar %q %s would be injected into group %q.", i.Sidecar, i.Version, i.Group))
		}
	}
	for _, p := range would.proxies {
		if !p.Service.Mesh.Marked {
			v.warnings = append(v.warnings, rehearsed+fmt.Sprintf("the proxy of service %q in group %q would run under driver %s.", p.Service.Name, p.Group.Name, p.Driver))
		}
	}
	if n := len(would.defaults); n > 0 && would.changed {
		shown := would.defaults[:min(n, maxRehearsed)]
		more := ""
		if n > len(shown) {
			more = fmt.Sprintf(" and %d more", n-len(shown))
		}
		v.warnings = append(v.warnings, rehearsed+"defaults would be set: "+strings.Join(shown, ", ")+more+".")
	}
	return v
}

// maxRehearsed is how many defaults a warning lists.
const maxRehearsed = 20

// rehearse adds the denial and the warnings of another verdict to the warnings.
func (v *verdict) rehearse(would *verdict) {
	for _, text := range would.warnings {
		if !slices.Contains(v.warnings, text) {
			v.warnings = append(v.warnings, rehearsed+text)
		}
	}
	if would.denial != nil {
		v.warnings = append(v.warnings, rehearsed+"the job would be denied: "+strings.ReplaceAll(would.denial.text, "\n", " "))
	}
	for _, rule := range slices.Concat(would.rules, would.warned) {
		v.noteWarned(rule)
	}
}

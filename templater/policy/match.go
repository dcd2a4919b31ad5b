package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/ryanuber/go-glob"
)

// match is a list of conditions, all of which must hold; none holds for every group.
type match []func(*job.Job, *job.Group) bool

func (m match) matches(j *job.Job, g *job.Group) bool {
	return !slices.ContainsFunc(m, func(holds func(*job.Job, *job.Group) bool) bool { return !holds(j, g) })
}

// properties are what a match may name, and the values of a group that its patterns
// are compared to. Where a job says that it may run anywhere, a rule about one place
// concerns it.
func properties() map[string]func(*job.Job, *job.Group) []string {
	return map[string]func(*job.Job, *job.Group) []string{
		"namespace":  func(j *job.Job, _ *job.Group) []string { return []string{j.Namespace} },
		"region":     func(j *job.Job, _ *job.Group) []string { return []string{j.Region} },
		"node_pool":  func(j *job.Job, _ *job.Group) []string { return []string{j.NodePool} },
		"datacenter": func(j *job.Job, _ *job.Group) []string { return j.Datacenters },
		"type":       func(j *job.Job, _ *job.Group) []string { return []string{j.Type} },
		"job":        func(j *job.Job, _ *job.Group) []string { return []string{j.ID} },
		"group":      func(_ *job.Job, g *job.Group) []string { return []string{g.Name} },
		"network":    func(_ *job.Job, g *job.Group) []string { return modes(g) },
		"driver":     func(_ *job.Job, g *job.Group) []string { return drivers(g) },
	}
}

// modes are the kinds of a group's networks, as requires.network of a definition has
// them: "cni" for any cni/ network.
func modes(g *job.Group) []string {
	if len(g.Networks) == 0 {
		return []string{"host"}
	}
	var out []string
	for _, n := range g.Networks {
		kind, _, _ := strings.Cut(n.Mode, "/")
		out = append(out, kind)
	}
	return out
}

// drivers are those of the app tasks, and of tasks that stay because they are said to
// be injected, which anybody can say of a task.
func drivers(g *job.Group) []string {
	var out []string
	for _, t := range slices.Concat(g.Tasks, g.Kept) {
		if !slices.Contains(out, t.Driver) {
			out = append(out, t.Driver)
		}
	}
	return out
}

func decodeMatch(b *hcl.Block) (match, hcl.Diagnostics) {
	names := []string{"meta"}
	props := properties()
	for name := range props {
		names = append(names, name)
	}
	slices.Sort(names)
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes(names...)})
	m := match{}
	for name, a := range content.Attributes {
		if name == "meta" {
			var want map[string]string
			more := gohcl.DecodeExpression(a.Expr, nil, &want)
			diags = append(diags, more...)
			m = append(m, metaMatch(want))
			continue
		}
		var patterns []string
		more := gohcl.DecodeExpression(a.Expr, nil, &patterns)
		if len(patterns) == 0 && !more.HasErrors() {
			more = append(more, diagnostic.Error(a.Expr.Range(), "Empty match", fmt.Sprintf("An empty list matches nothing. Give patterns such as [\"web-*\"], or leave %s out to match all.", name)))
		}
		diags = append(diags, more...)
		m = append(m, anyOf(name, props[name], patterns))
	}
	return m, diags
}

func anyOf(name string, values func(*job.Job, *job.Group) []string, patterns []string) func(*job.Job, *job.Group) bool {
	return func(j *job.Job, g *job.Group) bool {
		for _, v := range values(j, g) {
			everywhere := (name == "datacenter" && strings.Contains(v, "*")) || (name == "node_pool" && v == "all")
			if everywhere || slices.ContainsFunc(patterns, func(p string) bool { return glob.Glob(p, v) }) {
				return true
			}
		}
		return false
	}
}

// metaMatch compares the meta of the group, and what it does not set that of the job.
func metaMatch(want map[string]string) func(*job.Job, *job.Group) bool {
	return func(j *job.Job, g *job.Group) bool {
		for key, pattern := range want {
			text, ok := g.Meta[key]
			if !ok {
				text, ok = j.Meta[key]
			}
			if !ok || text.Unknown || !glob.Glob(pattern, text.Value) {
				return false
			}
		}
		return true
	}
}

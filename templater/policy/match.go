package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/ryanuber/go-glob"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// match is a list of conditions that must all hold; an empty list matches every group.
type match []condition

// condition reports whether a group meets a condition. The result is undecided if it depends on an
// unknown value.
type condition func(*job.Job, *job.Group) (holds bool, undecided *diagnostic.Unknown)

// matches is undecided if some conditions are undecided and all others hold.
func (m match) matches(j *job.Job, g *job.Group) (bool, *diagnostic.Unknown) {
	var open *diagnostic.Unknown
	for _, holds := range m {
		ok, u := holds(j, g)
		if u == nil && !ok {
			return false, nil
		}
		open = cmp.Or(open, u)
	}
	return open == nil, open
}

// values lists a property of a group that the patterns of a match are compared with. If more is set,
// other values are possible.
type values struct {
	known []job.Text
	more  *diagnostic.Unknown
}

func one(t job.Text) values { return values{known: []job.Text{t}} }

// properties returns the attributes of a match block. A job that may run anywhere matches
// a rule about one place.
func properties() map[string]func(*job.Job, *job.Group) values {
	return map[string]func(*job.Job, *job.Group) values{
		"namespace":  func(j *job.Job, _ *job.Group) values { return one(j.Namespace) },
		"region":     func(j *job.Job, _ *job.Group) values { return one(j.Region) },
		"node_pool":  func(j *job.Job, _ *job.Group) values { return one(j.NodePool) },
		"datacenter": func(j *job.Job, _ *job.Group) values { return values{j.Datacenters, j.MoreDatacenters} },
		"type":       func(j *job.Job, _ *job.Group) values { return one(j.Type) },
		"job":        func(j *job.Job, _ *job.Group) values { return one(j.ID) },
		"group":      func(_ *job.Job, g *job.Group) values { return one(job.Text{Value: g.Name}) },
		"network":    func(_ *job.Job, g *job.Group) values { return values{modes(g), g.MoreNetworks} },
		"driver":     func(_ *job.Job, g *job.Group) values { return values{drivers(g), g.MoreTasks} },
	}
}

// modes returns the modes of a group's networks, in the notation of a definition's
// requires.network: "cni" for any cni/ network.
func modes(g *job.Group) []job.Text {
	if len(g.Networks) == 0 && g.MoreNetworks == nil {
		return []job.Text{{Value: "host"}}
	}
	var out []job.Text
	for _, n := range g.Networks {
		mode := n.Mode
		mode.Value, _, _ = strings.Cut(mode.Value, "/")
		out = append(out, mode)
	}
	return out
}

// drivers returns the drivers of the app tasks, and of kept tasks that are marked as injected,
// since anyone can mark a task.
func drivers(g *job.Group) []job.Text {
	var out []job.Text
	for _, t := range slices.Concat(g.Tasks, g.Kept, g.Proxies) {
		if t.Driver.Unknown != nil || !slices.ContainsFunc(out, func(o job.Text) bool { return o.Unknown == nil && o.Value == t.Driver.Value }) {
			out = append(out, t.Driver)
		}
	}
	return out
}

func decodeMatch(b *hcl.Block) (match, requestMatch, hcl.Diagnostics) {
	names := []string{"meta"}
	props := properties()
	for name := range props {
		names = append(names, name)
	}
	slices.Sort(names)
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes(names...), Blocks: []hcl.BlockHeaderSchema{{Type: requestRoot}}})
	m := match{}
	var request requestMatch
	for _, inner := range content.Blocks {
		if request != nil {
			diags = append(diags, diagnostic.Error(inner.DefRange, "Duplicate request block", "All attributes of a request block must match. Merge the two blocks."))
			continue
		}
		var more hcl.Diagnostics
		request, more = decodeRequestMatch(inner)
		diags = append(diags, more...)
	}
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
	return m, request, diags
}

func anyOf(name string, of func(*job.Job, *job.Group) values, patterns []string) condition {
	return func(j *job.Job, g *job.Group) (bool, *diagnostic.Unknown) {
		all := of(j, g)
		open := all.more
		for _, v := range all.known {
			if v.Unknown != nil {
				open = cmp.Or(open, v.Unknown)
				continue
			}
			everywhere := (name == "datacenter" && strings.Contains(v.Value, "*")) || (name == "node_pool" && v.Value == "all")
			if everywhere || slices.ContainsFunc(patterns, func(p string) bool { return glob.Glob(p, v.Value) }) {
				return true, nil
			}
		}
		return false, open
	}
}

// metaMatch compares the group's meta, with the job's meta as fallback.
func metaMatch(want map[string]string) condition {
	return func(j *job.Job, g *job.Group) (bool, *diagnostic.Unknown) {
		var open *diagnostic.Unknown
		for _, key := range slices.Sorted(maps.Keys(want)) {
			text, ok := g.Meta[key]
			u := text.Unknown
			if !ok {
				u = g.MoreMeta
			}
			if !ok && u == nil {
				text, ok = j.Meta[key]
				if u = text.Unknown; !ok {
					u = j.MoreMeta
				}
			}
			if u == nil && (!ok || !glob.Glob(want[key], text.Value)) {
				return false, nil
			}
			open = cmp.Or(open, u)
		}
		return open == nil, open
	}
}

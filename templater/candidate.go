package templater

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// candidate collects everything known about one sidecar in one group.
type candidate struct {
	name        string
	origin      string
	at          hcl.Range
	by          []Source // from weakest to strongest
	constraints []version.Constraints
	arguments   map[string]sidecar.Argument
	rules       []string // of the policy, that chose it
	required    string   // the rule that requires it
	definition  *sidecar.Definition
}

func (c *chooser) flagged(g *job.Group) bool {
	return len(c.flags.Groups) == 0 || slices.Contains(c.flags.Groups, g.Name)
}

func pick(found map[string]*candidate, name, origin string, at hcl.Range) *candidate {
	if found[name] == nil {
		found[name] = &candidate{name: name, arguments: map[string]sidecar.Argument{}}
	}
	found[name].origin, found[name].at = origin, at
	found[name].by = append(found[name].by, Source{origin, at})
	return found[name]
}

func (c *chooser) fromMeta(found map[string]*candidate, meta map[string]job.Text) {
	inject, ok := meta[metaInject]
	if !ok {
		return
	}
	if c.unreadable(metaInject, inject) {
		return
	}
	for _, r := range ParseRequests(inject.Value) {
		r.Range = inject.Range
		if r.Sidecar == "" {
			c.fail(r.Range, "Invalid list of sidecars", fmt.Sprintf("%q has a version constraint %q without a name before the @.", metaInject, r.Constraint))
			continue
		}
		c.constrain(pick(found, r.Sidecar, OriginMeta, r.Range), r)
	}
}

// unreadable reports the text of a list of sidecars that is not known or not a string.
func (c *chooser) unreadable(key string, text job.Text) bool {
	switch {
	case text.Unknown == nil:
		return false
	case text.Unknown.Invalid:
		d := diagnostic.Error(text.Range, "Invalid list of sidecars", fmt.Sprintf("%q is a string with commas, such as \"topz, tls-proxy\", because meta holds strings only.", key))
		d.Extra = text.Unknown
		c.report(hcl.Diagnostics{d})
	default:
		c.unknown(text.Unknown, fmt.Sprintf("The choice of sidecars by meta %q", key))
	}
	return true
}

// unknown reports once that a choice depends on an unknown value.
func (c *chooser) unknown(u *diagnostic.Unknown, what string) {
	c.report(hcl.Diagnostics{u.Error(what)})
}

// report adds new diagnostics only: values of the job concern each group.
func (c *chooser) report(diags hcl.Diagnostics) {
	for _, d := range diags {
		if !slices.ContainsFunc(c.diags, func(o *hcl.Diagnostic) bool { return o.Summary == d.Summary && o.Detail == d.Detail }) {
			c.diags = append(c.diags, d)
		}
	}
}

// deprecation is a warning about the choice of one position, for one or more groups.
type deprecation struct {
	*hcl.Diagnostic
	detail string // without the groups
	groups []string
}

// deprecated reports each position once, with the groups: a choice of the job concerns each group.
func (c *chooser) deprecated(g *job.Group, warnings hcl.Diagnostics) {
	for _, d := range warnings {
		i := slices.IndexFunc(c.deprecations, func(o *deprecation) bool {
			return o.detail == d.Detail && (o.Subject == nil) == (d.Subject == nil) && (d.Subject == nil || *o.Subject == *d.Subject)
		})
		if i < 0 {
			i = len(c.deprecations)
			c.deprecations = append(c.deprecations, &deprecation{Diagnostic: d, detail: d.Detail})
			c.diags = append(c.diags, d)
		}
		had := c.deprecations[i]
		had.groups = append(had.groups, strconv.Quote(g.Name))
		had.Detail = fmt.Sprintf("In %s: %s", groupList(had.groups), had.detail)
	}
}

// groupList names groups, at most ten.
func groupList(names []string) string {
	const most = 10
	switch {
	case len(names) == 1:
		return "group " + names[0]
	case len(names) > most:
		return fmt.Sprintf("groups %s and %d others", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "groups " + strings.Join(names, ", ")
}

// moreMeta refuses to choose if meta may hold keys that are not known.
func (c *chooser) moreMeta(more *diagnostic.Unknown) {
	if more != nil {
		c.unknown(more, fmt.Sprintf("The choice of sidecars by meta %q", metaPrefix+"*"))
	}
}

func (c *chooser) fromBlocks(found map[string]*candidate, requests []*job.Request) {
	seen := map[string]hcl.Range{}
	for _, r := range requests {
		if first, dup := seen[r.Sidecar]; dup {
			c.fail(r.Range, "Duplicate sidecar block", fmt.Sprintf("Sidecar %q is already chosen at %s. Merge the two blocks.", r.Sidecar, first))
			continue
		}
		seen[r.Sidecar] = r.Range
		c.constrain(pick(found, r.Sidecar, OriginBlock, r.Range), r)
	}
}

func (c *chooser) fromFlags(found map[string]*candidate) {
	for _, r := range c.flags.With {
		c.constrain(pick(found, r.Sidecar, OriginFlag, r.Range), r)
	}
}

func (c *chooser) constrain(cand *candidate, r *job.Request) {
	if r.Constraint == "" {
		return
	}
	con, err := version.NewConstraint(r.Constraint)
	if err != nil {
		c.fail(r.Range, "Invalid version constraint", fmt.Sprintf("%q, given for sidecar %q, is not a version constraint such as \"~> 1.0\".", r.Constraint, r.Sidecar))
		return
	}
	cand.constraints = append(cand.constraints, con)
}

// arguments collects values from weakest to strongest.
func (c *chooser) arguments(found map[string]*candidate, g *job.Group) {
	for name, cand := range found {
		for i, meta := range []map[string]job.Text{c.job.Meta, g.Meta} {
			safe := []hcl.Range{c.job.Range, g.Range}[i]
			for key, text := range meta {
				if param, ok := strings.CutPrefix(key, metaPrefix+name+"."); ok {
					v := cty.StringVal(text.Value)
					if text.Unknown != nil {
						v = cty.UnknownVal(cty.String)
					}
					cand.arguments[param] = sidecar.Argument{Value: v, Text: text.Unknown == nil, Unknown: text.Unknown, From: fmt.Sprintf("meta %q", key), Range: text.Range, Safe: safe}
				}
			}
		}
		for _, requests := range [][]*job.Request{c.job.Requests, g.Requests} {
			for _, r := range requests {
				if r.Sidecar == name {
					for param, arg := range r.Arguments {
						cand.arguments[param] = arg
					}
				}
			}
		}
		if c.flagged(g) {
			for param, arg := range c.flags.Params[name] {
				cand.arguments[param] = arg
			}
		}
	}
}

func (c *chooser) exclude(found map[string]*candidate, g *job.Group) {
	for _, meta := range []map[string]job.Text{c.job.Meta, g.Meta} {
		text, ok := meta[metaExclude]
		if !ok {
			continue
		}
		if c.unreadable(metaExclude, text) {
			continue
		}
		names := splitList(text.Value)
		for _, name := range slices.Sorted(maps.Keys(found)) {
			if slices.Contains(names, name) || slices.Contains(names, "*") {
				c.used[name] = true
				if rule := found[name].required; rule != "" {
					c.warn(text.Range, "Sidecar not excluded", fmt.Sprintf("%q excludes sidecar %q in group %q, but rule %q of the policy requires it.", metaExclude, name, g.Name, rule))
					continue
				}
				c.warn(text.Range, "Sidecar excluded", fmt.Sprintf("Sidecar %q was chosen for group %q by %s, but %q excludes it.", name, g.Name, found[name].origin, metaExclude))
				c.tellExcluded(g, found[name], text.Range)
				delete(found, name)
			}
		}
	}
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

package templater

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// checkGroups finds groups named by flags that the job does not have.
func (c *chooser) checkGroups() {
	for _, name := range c.flags.Groups {
		if c.job.Group(name) == nil && len(c.job.Opaque) == 0 {
			var names []string
			for _, g := range c.job.Groups {
				names = append(names, g.Name)
			}
			c.fail(hcl.Range{}, "Unknown group", fmt.Sprintf("The job has no group %q, given by -group. It has: %s.", name, strings.Join(names, ", ")))
		}
	}
}

// checkOpaque refuses choices that would reach groups which cannot be seen.
func (c *chooser) checkOpaque() {
	_, byMeta := c.job.Meta[metaInject]
	byFlag := len(c.flags.With) > 0 && (len(c.flags.Groups) == 0 || slices.ContainsFunc(c.flags.Groups, func(n string) bool { return c.job.Group(n) == nil }))
	if !byMeta && !byFlag && len(c.job.Requests) == 0 {
		return
	}
	for _, o := range c.job.Opaque {
		c.fail(o.Range, "Cannot inject here", fmt.Sprintf("The sidecars chosen concern %s, which is not known as text. %s", o.What, o.WayOut))
	}
}

// checkUnused finds values for sidecars that nothing chose: most likely typos.
func (c *chooser) checkUnused() {
	for _, name := range slices.Sorted(maps.Keys(c.flags.Params)) {
		if !c.used[name] && !c.diags.HasErrors() {
			c.fail(hcl.Range{}, "Parameter without a sidecar", fmt.Sprintf("-param sets a value for sidecar %q, which nothing chooses. Add -with %s, or correct the name.", name, name))
		}
	}
	metas := []map[string]job.Text{c.job.Meta}
	for _, g := range c.job.Groups {
		metas = append(metas, g.Meta)
	}
	for _, meta := range metas {
		for _, key := range slices.Sorted(maps.Keys(meta)) {
			name, _, ok := strings.Cut(strings.TrimPrefix(key, metaPrefix), ".")
			if ok && strings.HasPrefix(key, metaPrefix) && !c.used[name] {
				c.warn(meta[key].Range, "Parameter without a sidecar", fmt.Sprintf("%q has no effect, because nothing chooses sidecar %q. Add it to %q, or correct the name.", key, name, metaInject))
			}
		}
	}
}

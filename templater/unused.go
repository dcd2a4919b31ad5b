package templater

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Summaries of warnings about choices that do nothing.
const (
	unusedMeta      = "Meta without effect"
	unusedParameter = "Parameter without a sidecar"
)

// WithoutEffect reports whether a warning of Select is about a choice that does nothing.
func WithoutEffect(d *hcl.Diagnostic) bool {
	return d.Severity == hcl.DiagWarning && (d.Summary == unusedMeta || d.Summary == unusedParameter)
}

// checkUnused reports values for sidecars that nothing chose and meta without effect, which are
// most likely typos.
func (c *chooser) checkUnused() {
	for _, name := range slices.Sorted(maps.Keys(c.flags.Params)) {
		if !c.used[name] && !c.diags.HasErrors() {
			c.fail(hcl.Range{}, unusedParameter, fmt.Sprintf("-param sets a value for sidecar %q, which nothing chooses. Add -with %s, or correct the name.", name, name))
		}
	}
	c.unusedMeta(c.job.Meta)
	for _, g := range c.job.Groups {
		c.unusedMeta(g.Meta)
		for _, t := range g.Tasks {
			c.taskMeta(t)
		}
	}
}

// keptMeta reports parameters in meta of a sidecar that stays as it is.
func (c *chooser) keptMeta(m job.Marked, g *job.Group) {
	prefix := metaPrefix + m.Mark.Name + "."
	for _, meta := range []map[string]job.Text{c.job.Meta, g.Meta} {
		for _, key := range slices.Sorted(maps.Keys(meta)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			c.warn(meta[key].Range, unusedMeta, fmt.Sprintf("%q has no effect now: group %q keeps sidecar %q as %s. Choose the sidecar by meta %q or by policy, or inject into the original job.",
				key, g.Name, m.Mark.Name, chosenEarlier(m), metaInject))
		}
	}
}

// unusedMeta reports keys in the meta of the job or a group that have no effect.
func (c *chooser) unusedMeta(meta map[string]job.Text) {
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		name, _, parameter := strings.Cut(strings.TrimPrefix(key, metaPrefix), ".")
		switch {
		case key == metaInject:
		case key == metaExclude:
			c.excludesNothing(meta[key])
		case strings.HasPrefix(key, metaPrefix) && parameter:
			if !c.used[name] {
				c.warn(meta[key].Range, unusedParameter, fmt.Sprintf("%q has no effect, because nothing chooses sidecar %q. Add it to %q, or correct the name.", key, name, metaInject))
			}
		default:
			if meant, near := c.meant(key); near {
				c.warn(meta[key].Range, unusedMeta, fmt.Sprintf("%q has no effect.%s The keys are %q, %q and \"sidecar.NAME.PARAMETER\".", key, meant, metaInject, metaExclude))
			}
		}
	}
}

// taskMeta reports keys in the meta of a task that have an effect only in a group's or job's meta.
func (c *chooser) taskMeta(t *job.Task) {
	for _, key := range slices.Sorted(maps.Keys(t.Meta)) {
		if job.IsMarkKey(key) {
			continue
		}
		if _, near := c.meant(key); near || key == metaInject || key == metaExclude {
			c.warn(t.Meta[key].Range, unusedMeta, fmt.Sprintf("%q has no effect in the meta of task %q. Move it to the meta of the group or the job.", key, t.Name))
		}
	}
}

// excludesNothing reports names that no sidecar of the catalog has.
func (c *chooser) excludesNothing(text job.Text) {
	for _, name := range splitList(text.Value) {
		if name != "*" && len(c.catalog.Versions(name)) == 0 {
			c.warn(text.Range, unusedMeta, fmt.Sprintf("%q names %q, and the catalog has no such sidecar.%s", metaExclude, name, suggestion(name, c.catalog.Names())))
		}
	}
}

// meant reports whether a key without effect looks like one with effect, and returns " Did you
// mean …?" if that one is known.
func (c *chooser) meant(key string) (suggested string, near bool) {
	spelt := strings.NewReplacer("_", ".", "-", ".").Replace(strings.ToLower(key))
	near = strings.HasPrefix(strings.ToLower(key), metaPrefix)
	for _, known := range []string{metaInject, metaExclude} {
		if key != known && (spelt == known || suggestion(strings.ToLower(key), []string{known}) != "") {
			return fmt.Sprintf(" Did you mean %q, as in meta = { %q = … }?", known, known), true
		}
	}
	for _, name := range c.catalog.Names() {
		begin := metaPrefix + strings.ReplaceAll(name, "-", ".") + "."
		if parameter, ok := strings.CutPrefix(spelt, begin); ok && !near {
			return fmt.Sprintf(" Did you mean %q?", metaPrefix+name+"."+strings.ReplaceAll(parameter, ".", "_")), true
		}
	}
	return "", near
}

// checkTextRefs reports references to outputs that stay text.
func (c *chooser) checkTextRefs() {
	for _, ref := range c.job.TextRefs {
		c.warn(ref.Range, "Output outside of a sidecar block", fmt.Sprintf("%q has a reference to an output of a sidecar, which Nomad gets as text: a job uses outputs in sidecar blocks and in meta \"sidecar.NAME.PARAMETER\". Let the definition of a sidecar set the value, in app { … }.", ref.Name))
	}
}

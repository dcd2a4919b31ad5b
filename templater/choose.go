package templater

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Keys of a job's or group's meta that choose sidecars; see also
// "sidecar.<name>.<parameter>".
const (
	metaPrefix  = job.MetaPrefix
	metaInject  = job.MetaInject
	metaExclude = "sidecar.exclude"
)

// Origins of a choice, as marks name them. The strongest one that chose is kept.
const (
	OriginFlag  = "flag"
	OriginBlock = "block"
	OriginMeta  = "meta"
	// OriginPolicy is a rule of the cluster's operators; see Policy.
	OriginPolicy = "policy"
)

// Flags are choices from outside the job.
type Flags struct {
	With []*job.Request // Arguments are ignored
	// Params are arguments by sidecar and parameter.
	Params map[string]map[string]sidecar.Argument
	// Groups limits With and Params to these groups; empty means all.
	Groups []string
	// Policy may be nil.
	Policy Policy
	// Kept are injected tasks that must not change: their sidecars are not chosen for their
	// groups.
	Kept []job.Marked
	// Done ends a long injection with an error when it is closed. It may be nil.
	Done <-chan struct{}
}

// late returns an error if the injection must end.
func (f Flags) late(g *job.Group) *hcl.Diagnostic {
	select {
	case <-f.Done:
		return diagnostic.Error(g.Range, "Injection takes too long", fmt.Sprintf("Its time was over at group %q. Split the job, or shorten its meta.", g.Name))
	default:
		return nil
	}
}

// Choice is one sidecar for one group.
type Choice struct {
	Group      *job.Group
	Definition *sidecar.Definition
	Values     map[string]cty.Value
	// Sensitive are parameters with a value from a sensitive output of another sidecar.
	Sensitive map[string]bool
	// Uses are the outputs of other sidecars that its parameters and its definition use.
	Uses []sidecar.OutputRef
	// Outputs are evaluated when something uses one of them, nil before.
	Outputs map[string]sidecar.Result
	Origin  string
	Range   hcl.Range // position of the choice; zero for a flag
	// Rules are the policy rules that choose it; Required reports that one requires it.
	Rules       []string
	Required    bool
	Constraints []version.Constraints
}

// Choose returns the sidecars of each group and their values. A sidecar chosen in several ways
// is one Choice. Parameter values come from flag, block, meta, policy or default, in this order of
// precedence, and from the group before the job. Choices are in the order of the groups, and
// within a group in an order that satisfies requires.after, else by name.
func Choose(j *job.Job, catalog job.Catalog, flags Flags) ([]*Choice, hcl.Diagnostics) {
	c := newChooser(j, catalog, flags)
	c.checkGroups()
	var out []*Choice
	for _, g := range j.Groups {
		if d := flags.late(g); d != nil {
			return nil, append(c.diags, d)
		}
		out = append(out, c.group(g)...)
		if len(out) > bounds.Sidecars {
			c.fail(g.Range, "Too many sidecars", fmt.Sprintf("Up to group %q the job gets more than %d sidecars, the limit. Split the job, or choose sidecars for fewer groups.", g.Name, bounds.Sidecars))
			return nil, c.diags
		}
	}
	c.checkPolicy()
	c.checkEmpty()
	c.checkOpaque()
	c.checkUnused()
	c.checkTextRefs()
	return out, c.diags
}

type chooser struct {
	job          *job.Job
	catalog      job.Catalog
	flags        Flags
	used         map[string]bool // sidecars chosen or excluded somewhere
	explanations []*Explanation  // of the current group
	binder       sidecar.Binder
	deprecations []*deprecation
	diags        hcl.Diagnostics
	// sidecars are for policy conditions, including those that turn out to be invalid.
	sidecars map[*job.Group]Sidecars
}

func newChooser(j *job.Job, catalog job.Catalog, flags Flags) *chooser {
	return &chooser{job: j, catalog: catalog, flags: flags, used: map[string]bool{}, sidecars: map[*job.Group]Sidecars{}}
}

func (c *chooser) fail(at hcl.Range, summary, detail string) {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail}
	if at != (hcl.Range{}) {
		d.Subject = at.Ptr()
	}
	c.diags = append(c.diags, d)
}

func (c *chooser) warn(at hcl.Range, summary, detail string) {
	c.fail(at, summary, detail)
	c.diags[len(c.diags)-1].Severity = hcl.DiagWarning
}

func (c *chooser) group(g *job.Group) []*Choice {
	found := map[string]*candidate{}
	// From weakest to strongest: later ones overwrite.
	c.moreMeta(c.job.MoreMeta)
	c.moreMeta(g.MoreMeta)
	c.fromPolicy(found, g)
	c.fromMeta(found, c.job.Meta)
	c.fromMeta(found, g.Meta)
	c.fromBlocks(found, c.job.Requests)
	c.fromBlocks(found, g.Requests)
	if c.flagged(g) {
		c.fromFlags(found)
	}
	c.arguments(found, g)
	c.exclude(found, g)
	kept := c.leaveKept(found, g)
	c.sidecars[g] = Sidecars{Chosen: slices.Sorted(maps.Keys(found)), Kept: kept}
	choices := c.bind(g, found, kept)
	var out []*Choice
	for _, name := range slices.Sorted(maps.Keys(found)) {
		c.used[name] = true
		c.explain(g, found[name], choices[name])
		if choices[name] != nil {
			out = append(out, choices[name])
		}
	}
	c.conflicts(out)
	return c.order(out)
}

// conflicts reports sidecars that cannot be in one group.
func (c *chooser) conflicts(choices []*Choice) {
	for _, one := range choices {
		for _, other := range choices {
			if one != other && slices.Contains(one.Definition.Requires.Conflicts, other.Definition.Name) {
				c.fail(one.Range, "Conflicting sidecars", fmt.Sprintf("Sidecar %q cannot be in one group with sidecar %q (%s), but both are chosen for group %q: %q by %s. Choose one of them, or put them into different groups.",
					one.Definition.Name, other.Definition.Name, one.Definition.Requires.Range, one.Group.Name, other.Definition.Name, Source{other.Origin, other.Range}))
			}
		}
	}
}

// version returns the newest version that meets the constraints, or nil after an error.
func (c *chooser) version(g *job.Group, cand *candidate) *sidecar.Definition {
	versions := c.catalog.Versions(cand.name)
	if len(versions) == 0 {
		c.fail(cand.at, "Unknown sidecar", fmt.Sprintf("There is no sidecar %q in the catalog.%s It has: %s. Correct the name, or name its catalog with -catalog.",
			cand.name, suggestion(cand.name, c.catalog.Names()), sidecar.NameList(c.catalog.Names())))
		return nil
	}
	def := c.catalog.Find(cand.name, cand.constraints...)
	if def == nil {
		var have, want []string
		for _, v := range versions {
			have = append(have, v.Version.String())
		}
		for _, con := range cand.constraints {
			want = append(want, con.String())
		}
		c.fail(cand.at, "No such version", fmt.Sprintf("No version of sidecar %q meets %q, required in group %q. The catalog has %s.", cand.name, strings.Join(want, ", "), g.Name, strings.Join(have, ", ")))
	}
	return def
}

// order sorts by requires.after, else by name.
func (c *chooser) order(in []*Choice) []*Choice {
	slices.SortStableFunc(in, func(x, y *Choice) int { return strings.Compare(x.Definition.Name, y.Definition.Name) })
	var out []*Choice
	placed := map[string]bool{}
	for len(in) > 0 {
		i := slices.IndexFunc(in, func(x *Choice) bool {
			return !slices.ContainsFunc(x.Definition.Requires.After, func(name string) bool {
				waiting := slices.ContainsFunc(in, func(o *Choice) bool { return o.Definition.Name == name })
				return waiting && !placed[name]
			})
		})
		if i < 0 {
			var names []string
			for _, x := range in {
				names = append(names, x.Definition.Name)
			}
			d := in[0].Definition
			c.fail(d.Requires.Range, "Circular order", fmt.Sprintf("In group %q the sidecars %s must each come after another according to requires.after. Choose fewer of them, or fix the definitions.", in[0].Group.Name, strings.Join(names, ", ")))
			return nil
		}
		placed[in[i].Definition.Name] = true
		out = append(out, in[i])
		in = slices.Delete(in, i, i+1)
	}
	return out
}

// checkGroups reports groups named by flags that the job does not have.
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

// checkEmpty reports choices for a job that has no group.
func (c *chooser) checkEmpty() {
	if len(c.job.Groups)+len(c.job.Opaque) > 0 || len(c.flags.Groups) > 0 {
		return // -group is an error already
	}
	for _, r := range slices.Concat(c.flags.With, c.job.Requests) {
		c.fail(c.job.Range, "No group", fmt.Sprintf("Sidecar %q was chosen, but the job has no group. Add a group with a task.", r.Sidecar))
		return
	}
}

// checkOpaque refuses choices for groups that only evaluation could show.
func (c *chooser) checkOpaque() {
	_, byMeta := c.job.Meta[metaInject]
	byFlag := len(c.flags.With) > 0 && (len(c.flags.Groups) == 0 || slices.ContainsFunc(c.flags.Groups, func(n string) bool { return c.job.Group(n) == nil }))
	all := byMeta || c.job.MoreMeta != nil || byFlag || len(c.job.Requests) > 0 || c.flags.Policy != nil
	for _, o := range c.job.Opaque {
		if all || o.Group.Chooses() {
			c.report(hcl.Diagnostics{o.Error("The choice of sidecars depends on")})
		}
	}
}

package templater

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
)

// Keys of a job's or group's meta that choose sidecars; see also
// "sidecar.<name>.<parameter>".
const (
	metaPrefix  = "sidecar."
	metaInject  = "sidecar.inject"
	metaExclude = "sidecar.exclude"
)

// Origins of a choice, as marks name them; the strongest one that chose is kept.
const (
	OriginFlag  = "flag"
	OriginBlock = "block"
	OriginMeta  = "meta"
)

// Catalog is where definitions are looked up.
type Catalog interface {
	Find(name string, constraints ...version.Constraints) *sidecar.Definition
	Versions(name string) []*sidecar.Definition
	Names() []string
}

// Flags are choices that come from outside the job.
type Flags struct {
	With []*Request // Arguments are ignored
	// Params are arguments by sidecar and parameter.
	Params map[string]map[string]sidecar.Argument
	// Groups limits With and Params to these groups; empty means all.
	Groups []string
}

// Choice is one sidecar for one group.
type Choice struct {
	Group      *Group
	Definition *sidecar.Definition
	Values     map[string]cty.Value
	Origin     string
	Range      hcl.Range // where it was chosen; zero for a flag
}

// Choose finds the sidecars of each group and their values. A sidecar chosen in
// several ways is one Choice; for each parameter the flag wins over the block,
// the block over meta, meta over the default, and what stands in the group over
// what stands in the job. Choices come in the order of the groups, and within a
// group so that requires.after holds, else by name.
func Choose(job *Job, catalog Catalog, flags Flags) ([]*Choice, hcl.Diagnostics) {
	c := &chooser{job: job, catalog: catalog, flags: flags, used: map[string]bool{}}
	c.checkGroups()
	var out []*Choice
	for _, g := range job.Groups {
		out = append(out, c.group(g)...)
	}
	c.checkOpaque()
	c.checkUnused()
	return out, c.diags
}

type chooser struct {
	job     *Job
	catalog Catalog
	flags   Flags
	used    map[string]bool // sidecars chosen or excluded somewhere
	told    []*Explanation  // of the group that is looked at
	diags   hcl.Diagnostics
}

// candidate gathers all that is said about one sidecar in one group.
type candidate struct {
	name        string
	origin      string
	at          hcl.Range
	by          []Source // from weakest to strongest
	constraints []version.Constraints
	arguments   map[string]sidecar.Argument
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

func (c *chooser) group(g *Group) []*Choice {
	found := map[string]*candidate{}
	// From weakest to strongest: later ones overwrite.
	c.fromMeta(found, c.job.Meta)
	c.fromMeta(found, g.Meta)
	c.fromBlocks(found, c.job.Requests)
	c.fromBlocks(found, g.Requests)
	if c.flagged(g) {
		c.fromFlags(found)
	}
	c.arguments(found, g)
	c.exclude(found, g)
	var out []*Choice
	for _, name := range sortedKeys(found) {
		c.used[name] = true
		choice := c.resolve(g, found[name])
		c.tell(g, found[name], choice)
		if choice != nil {
			out = append(out, choice)
		}
	}
	c.conflicts(out)
	return c.order(out)
}

// conflicts finds sidecars that cannot be in one group.
func (c *chooser) conflicts(choices []*Choice) {
	for _, one := range choices {
		for _, other := range choices {
			if one != other && slices.Contains(one.Definition.Requires.Conflicts, other.Definition.Name) {
				c.fail(one.Range, "Sidecars in conflict", fmt.Sprintf("Sidecar %q cannot be in one group with sidecar %q (%s), but both are chosen for group %q: %q by %s. Choose one of them, or put them into different groups.",
					one.Definition.Name, other.Definition.Name, one.Definition.Requires.Range, one.Group.Name, other.Definition.Name, Source{other.Origin, other.Range}))
			}
		}
	}
}

func (c *chooser) flagged(g *Group) bool {
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

func (c *chooser) fromMeta(found map[string]*candidate, meta map[string]Text) {
	inject, ok := meta[metaInject]
	if !ok {
		return
	}
	if inject.Unknown {
		c.fail(inject.Range, "Choice not known", fmt.Sprintf("The value of %q depends on a variable without a value. Give it with -var or -var-file.", metaInject))
		return
	}
	for _, name := range splitList(inject.Value) {
		pick(found, name, OriginMeta, inject.Range)
	}
}

func (c *chooser) fromBlocks(found map[string]*candidate, requests []*Request) {
	seen := map[string]hcl.Range{}
	for _, r := range requests {
		if first, dup := seen[r.Sidecar]; dup {
			c.fail(r.Range, "Duplicate sidecar block", fmt.Sprintf("Sidecar %q was already chosen here at %s. Merge the two blocks.", r.Sidecar, first))
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

func (c *chooser) constrain(cand *candidate, r *Request) {
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
func (c *chooser) arguments(found map[string]*candidate, g *Group) {
	for name, cand := range found {
		for _, meta := range []map[string]Text{c.job.Meta, g.Meta} {
			for key, text := range meta {
				if param, ok := strings.CutPrefix(key, metaPrefix+name+"."); ok {
					v := cty.StringVal(text.Value)
					if text.Unknown {
						v = cty.UnknownVal(cty.String)
					}
					cand.arguments[param] = sidecar.Argument{Value: v, Text: !text.Unknown, From: fmt.Sprintf("meta %q", key), Range: text.Range, Safe: g.Range}
				}
			}
		}
		for _, requests := range [][]*Request{c.job.Requests, g.Requests} {
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

func (c *chooser) exclude(found map[string]*candidate, g *Group) {
	for _, meta := range []map[string]Text{c.job.Meta, g.Meta} {
		text, ok := meta[metaExclude]
		if !ok {
			continue
		}
		if text.Unknown {
			c.fail(text.Range, "Choice not known", fmt.Sprintf("The value of %q depends on a variable without a value. Give it with -var or -var-file.", metaExclude))
			continue
		}
		names := splitList(text.Value)
		for _, name := range sortedKeys(found) {
			if slices.Contains(names, name) || slices.Contains(names, "*") {
				c.used[name] = true
				c.warn(text.Range, "Sidecar excluded", fmt.Sprintf("Sidecar %q was chosen for group %q by %s, but %q refuses it.", name, g.Name, found[name].origin, metaExclude))
				c.tellExcluded(g, found[name], text.Range)
				delete(found, name)
			}
		}
	}
}

func (c *chooser) resolve(g *Group, cand *candidate) *Choice {
	versions := c.catalog.Versions(cand.name)
	if len(versions) == 0 {
		c.fail(cand.at, "Unknown sidecar", fmt.Sprintf("There is no sidecar %q in the catalog.%s It has: %s. Correct the name, or name its catalog with -catalog.",
			cand.name, suggestion(cand.name, c.catalog.Names()), strings.Join(c.catalog.Names(), ", ")))
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
		c.fail(cand.at, "No such version", fmt.Sprintf("No version of sidecar %q meets %q, asked for in group %q. The catalog has %s.", cand.name, strings.Join(want, ", "), g.Name, strings.Join(have, ", ")))
		return nil
	}
	site := cand.at
	if site == (hcl.Range{}) {
		site = g.Range
	}
	values, diags := def.Bind(cand.arguments, site)
	c.diags = append(c.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	return &Choice{Group: g, Definition: def, Values: values, Origin: cand.origin, Range: cand.at}
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
			c.fail(d.Requires.Range, "Circular order", fmt.Sprintf("In group %q the sidecars %s each want to come after another by their requires.after. Choose fewer of them, or mend the definitions.", in[0].Group.Name, strings.Join(names, ", ")))
			return nil
		}
		placed[in[i].Definition.Name] = true
		out = append(out, in[i])
		in = slices.Delete(in, i, i+1)
	}
	return out
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

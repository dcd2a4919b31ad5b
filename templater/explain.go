package templater

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
)

// OriginDefault is the origin of a value that nothing sets.
const OriginDefault = "default"

// States of a sidecar in a group.
const (
	StateChosen    = "chosen"
	StateExcluded  = "excluded"
	StateNotChosen = "not chosen"
	// StateWrong is chosen, but not as the definition wants it; diagnostics tell.
	StateWrong = "wrong"
)

// Explanation says of one sidecar and one group whether it is injected, and why.
type Explanation struct {
	Group   *job.Group
	Sidecar string
	State   string
	// Reason is a clause that says why it is excluded or not chosen.
	Reason string
	// Sources are what chose it, the strongest one first.
	Sources []Source
	// Definition is the version that was found; nil where there is none.
	Definition  *sidecar.Definition
	Constraints []string
	// Parameters are in the order of the definition; none unless it is chosen.
	Parameters []ParameterValue
}

// Source is something that chose a sidecar, excluded it or gave a value. Range is
// zero for a flag and a default.
type Source struct {
	Origin string
	Range  hcl.Range
}

func (s Source) String() string {
	if s.Range == (hcl.Range{}) {
		return s.Origin
	}
	return fmt.Sprintf("%s (%s)", s.Origin, s.Range)
}

// ParameterValue is a parameter's value and where it came from. The value of a
// sensitive parameter is in it: whoever shows it must look at Sensitive.
type ParameterValue struct {
	Name      string
	Value     cty.Value
	Sensitive bool
	Source    Source
}

// Explain chooses as Choose does and tells about every sidecar of the catalog, in
// every group: those that are chosen or excluded first, each part by name.
func Explain(j *job.Job, catalog job.Catalog, flags Flags) ([]*Explanation, hcl.Diagnostics) {
	c := newChooser(j, catalog, flags)
	c.checkGroups()
	var out []*Explanation
	for _, g := range j.Groups {
		c.told = nil
		c.group(g)
		for _, name := range catalog.Names() {
			if !slices.ContainsFunc(c.told, func(e *Explanation) bool { return e.Sidecar == name }) {
				c.told = append(c.told, &Explanation{
					Group: g, Sidecar: name, State: StateNotChosen, Reason: c.whyNot(g, name), Definition: catalog.Find(name),
				})
			}
		}
		out = append(out, c.told...)
	}
	c.checkPolicy()
	c.checkOpaque()
	c.checkUnused()
	return out, c.diags
}

func (c *chooser) whyNot(g *job.Group, name string) string {
	for _, r := range c.flags.With {
		if r.Sidecar == name {
			return "-with is limited to other groups by -group"
		}
	}
	for _, other := range c.job.Groups {
		for _, r := range other.Requests {
			if r.Sidecar == name {
				return fmt.Sprintf("its sidecar block is that of group %q", other.Name)
			}
		}
	}
	if _, ok := g.Meta[metaInject]; ok {
		return fmt.Sprintf("%q does not name it", metaInject)
	}
	return "nothing chooses it"
}

// tell notes what became of a candidate. Choice is nil where it is wrong.
func (c *chooser) tell(g *job.Group, cand *candidate, choice *Choice) {
	e := &Explanation{Group: g, Sidecar: cand.name, State: StateWrong, Sources: cand.sources()}
	for _, con := range cand.constraints {
		e.Constraints = append(e.Constraints, con.String())
	}
	if choice != nil {
		e.State, e.Definition = StateChosen, choice.Definition
		for _, p := range choice.Definition.Parameters {
			e.Parameters = append(e.Parameters, ParameterValue{
				Name: p.Name, Value: choice.Values[p.Name], Sensitive: p.Sensitive, Source: cand.source(p),
			})
		}
	}
	c.told = append(c.told, e)
}

func (c *chooser) tellExcluded(g *job.Group, cand *candidate, at hcl.Range) {
	c.told = append(c.told, &Explanation{
		Group: g, Sidecar: cand.name, State: StateExcluded, Sources: cand.sources(), Definition: c.catalog.Find(cand.name),
		Reason: fmt.Sprintf("%q refuses it (%s)", metaExclude, at),
	})
}

// sources are what chose a candidate, the strongest first.
func (cand *candidate) sources() []Source {
	out := slices.Clone(cand.by)
	slices.Reverse(out)
	return out
}

// source says where a parameter's value came from.
func (cand *candidate) source(p *sidecar.Parameter) Source {
	arg, ok := cand.arguments[p.Name]
	switch {
	case !ok, arg.Value.IsNull() && !p.Nullable && !arg.Text:
		return Source{Origin: OriginDefault}
	case strings.HasPrefix(arg.From, OriginPolicy+" "):
		return Source{OriginPolicy, arg.Range}
	case strings.HasPrefix(arg.From, "meta "):
		return Source{OriginMeta, arg.Range}
	case arg.From == "":
		return Source{OriginBlock, arg.Range}
	}
	return Source{OriginFlag, arg.Range}
}

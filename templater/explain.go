package templater

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// OriginDefault is the origin of a parameter's default value.
const OriginDefault = "default"

// States of a sidecar in a group.
const (
	StateChosen    = "chosen"
	StateExcluded  = "excluded"
	StateNotChosen = "not chosen"
	// StateWrong is a chosen sidecar that its definition does not allow; see the diagnostics.
	StateWrong = "wrong"
)

// ReasonNothing is the reason of a sidecar that the job, the flags and the policy do not mention.
const ReasonNothing = "nothing chooses it"

// Explanation reports whether and why a sidecar is injected into a group.
type Explanation struct {
	Group   *job.Group
	Sidecar string
	State   string
	// Reason is a clause that explains why it is excluded or not chosen.
	Reason string
	// Sources are the origins that chose it, the strongest one first.
	Sources []Source
	// Definition is the selected version, or nil if there is none.
	Definition  *sidecar.Definition
	Constraints []string
	// Parameters are in the order of the definition; empty unless the sidecar is chosen.
	Parameters []ParameterValue
}

// Source is something that chose a sidecar, excluded it or set a value. Range is zero for a
// flag and a default.
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

// ParameterValue is a parameter's value and its origin. It contains the value of a sensitive
// parameter too: callers that print it must check Sensitive.
type ParameterValue struct {
	Name      string
	Value     cty.Value
	Sensitive bool
	// Deprecated says what to use instead, if something sets a deprecated parameter.
	Deprecated string
	// Uses are the outputs that the value depends on, such as "sidecar.broker.address".
	Uses   []string
	Source Source
}

// Explain chooses as Choose does and describes every sidecar of the catalog in every group:
// chosen and excluded ones first, each part sorted by name.
func Explain(j *job.Job, catalog job.Catalog, flags Flags) ([]*Explanation, hcl.Diagnostics) {
	c := newChooser(j, catalog, flags)
	c.checkGroups()
	var out []*Explanation
	for _, g := range j.Groups {
		c.explanations = nil
		c.group(g)
		for _, name := range catalog.Names() {
			if !slices.ContainsFunc(c.explanations, func(e *Explanation) bool { return e.Sidecar == name }) {
				c.explanations = append(c.explanations, &Explanation{
					Group: g, Sidecar: name, State: StateNotChosen, Reason: c.whyNot(g, name), Definition: catalog.Find(name),
				})
			}
		}
		out = append(out, c.explanations...)
	}
	c.checkPolicy()
	c.checkEmpty()
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
				return fmt.Sprintf("its sidecar block is in group %q", other.Name)
			}
		}
	}
	if _, ok := g.Meta[metaInject]; ok {
		return fmt.Sprintf("%q does not name it", metaInject)
	}
	return ReasonNothing
}

// explain records the result for a candidate. choice is nil if the candidate is invalid.
func (c *chooser) explain(g *job.Group, cand *candidate, choice *Choice) {
	e := &Explanation{Group: g, Sidecar: cand.name, State: StateWrong, Sources: cand.sources()}
	for _, con := range cand.constraints {
		e.Constraints = append(e.Constraints, con.String())
	}
	if choice != nil {
		e.State, e.Definition = StateChosen, choice.Definition
		for _, p := range choice.Definition.Parameters {
			v := ParameterValue{Name: p.Name, Value: choice.Values[p.Name], Sensitive: p.Sensitive || choice.Sensitive[p.Name], Source: cand.source(p)}
			if v.Source.Origin != OriginDefault {
				v.Deprecated, v.Uses = p.Deprecated, uses(cand.arguments[p.Name])
			}
			e.Parameters = append(e.Parameters, v)
		}
	}
	c.explanations = append(c.explanations, e)
}

func uses(arg sidecar.Argument) []string {
	var out []string
	for _, ref := range arg.Uses {
		out = append(out, ref.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *chooser) tellExcluded(g *job.Group, cand *candidate, at hcl.Range) {
	c.explanations = append(c.explanations, &Explanation{
		Group: g, Sidecar: cand.name, State: StateExcluded, Sources: cand.sources(), Definition: c.catalog.Find(cand.name),
		Reason: fmt.Sprintf("%q excludes it (%s)", metaExclude, at),
	})
}

// sources lists what chose a candidate, the strongest first.
func (cand *candidate) sources() []Source {
	out := slices.Clone(cand.by)
	slices.Reverse(out)
	return out
}

// source returns the origin of a parameter's value.
func (cand *candidate) source(p *sidecar.Parameter) Source {
	arg, ok := cand.arguments[p.Name]
	switch {
	case !ok, !p.Sets(arg):
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

package fleet

import (
	"fmt"
	"slices"

	"github.com/hashicorp/go-version"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// pinned is a catalog in which the newest version of certain sidecars is the version
// that a job was injected with.
type pinned struct {
	job.Catalog
	digests map[string]string // by name
}

func (p pinned) Find(name string, constraints ...version.Constraints) *sidecar.Definition {
	if want, ok := p.digests[name]; ok {
		if d := definition(p.Catalog, name, want); d != nil {
			return d
		}
	}
	return p.Catalog.Find(name, constraints...)
}

func definition(catalog job.Catalog, name, digest string) *sidecar.Definition {
	for _, d := range catalog.Versions(name) {
		if d.Digest == digest {
			return d
		}
	}
	return nil
}

// edited injects the sidecars of a job again and compares the result with the stored
// job. This requires that meta and policy determine the parameters and that the catalog
// still has the definition.
func (i *inspection) edited(raw []byte) {
	left := slices.DeleteFunc(i.verifiable, func(k known) bool {
		return k.sidecar.State == StateDoubtful || definition(i.Catalog, k.sidecar.Name, k.digest) == nil
	})
	for len(left) > 0 {
		// Groups may have different versions of one sidecar, so each round covers one.
		digests, groups := map[string]string{}, map[string]bool{}
		var rest []known
		for _, k := range left {
			if d, taken := digests[k.sidecar.Name]; taken && d != k.digest {
				rest = append(rest, k)
				continue
			}
			digests[k.sidecar.Name] = k.digest
			groups[k.group] = true
		}
		i.compareWith(raw, pinned{i.Catalog, digests}, slices.DeleteFunc(left, func(k known) bool {
			return digests[k.sidecar.Name] != k.digest
		}))
		left = rest
	}
}

// compareWith records the sidecars that differ in the stored job from a new injection.
func (i *inspection) compareWith(raw []byte, catalog pinned, about []known) {
	kept := i.Keepable()
	c, diags := choose(raw, i.job.Ref().String(), catalog, i.Policy, kept)
	if diags.HasErrors() {
		return
	}
	// Other sidecars must not cause errors, but their outputs may be used.
	choices := c.Choices
	c.Choices = slices.DeleteFunc(slices.Clone(choices), func(choice *templater.Choice) bool {
		return !slices.ContainsFunc(about, func(k known) bool {
			return k.is(choice.Group.Name, choice.Definition.Name) || k.uses(choices, choice)
		})
	})
	if c.Make().HasErrors() {
		return
	}
	for _, k := range about {
		where, err := difference(c.Output, raw, k.group, k.sidecar.Name)
		if err != nil || where == "" {
			continue
		}
		if output := i.replaced(k.group, k.sidecar.Name, choices, map[string]bool{}); output != "" {
			k.sidecar.outputChanged(output, where)
			continue
		}
		k.sidecar.Edited = true
		if k.sidecar.State == StateOK {
			k.sidecar.State = StateEdited
		}
		k.sidecar.Reason = where + " differs from definition, meta and policy"
	}
}

func (k known) is(group, sidecar string) bool { return k.group == group && k.sidecar.Name == sidecar }

// uses reports whether the sidecar uses an output of another choice.
func (k known) uses(choices []*templater.Choice, of *templater.Choice) bool {
	return slices.ContainsFunc(choices, func(choice *templater.Choice) bool {
		return of.Group.Name == k.group && k.is(choice.Group.Name, choice.Definition.Name) &&
			slices.ContainsFunc(choice.Uses, func(ref sidecar.OutputRef) bool { return ref.Sidecar == of.Definition.Name })
	})
}

// replaced returns an output that a sidecar uses, of a sidecar that the job has with another definition
// than that in the choices, or that uses such an output itself; "" if there is none.
func (i *inspection) replaced(group, name string, choices []*templater.Choice, seen map[string]bool) string {
	if seen[name] {
		return ""
	}
	seen[name] = true
	for _, choice := range choices {
		if choice.Group.Name != group || choice.Definition.Name != name {
			continue
		}
		for _, ref := range choice.Uses {
			if i.redefined(group, ref.Sidecar, choices) || i.replaced(group, ref.Sidecar, choices, seen) != "" {
				return ref.String()
			}
		}
	}
	return ""
}

// redefined reports whether a sidecar of the job has another definition than in the choices.
func (i *inspection) redefined(group, name string, choices []*templater.Choice) bool {
	return slices.ContainsFunc(choices, func(c *templater.Choice) bool {
		return c.Group.Name == group && c.Definition.Name == name && slices.ContainsFunc(i.Document.Marks(), func(m job.Marked) bool {
			return m.Group == group && m.Mark.Name == name && m.Mark.Digest != c.Definition.Digest
		})
	})
}

// outputChanged records that a sidecar was made with another value of an output.
func (s *Sidecar) outputChanged(output, where string) {
	if s.State == StateOK {
		s.State = StateChanged
	}
	s.Output = output
	s.Reason = fmt.Sprintf("%s may differ because the definition of %s changed", where, output)
}

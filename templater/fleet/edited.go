package fleet

import (
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
	// Other sidecars must not cause errors.
	c.Choices = slices.DeleteFunc(c.Choices, func(choice *templater.Choice) bool {
		return !slices.ContainsFunc(about, func(k known) bool {
			return k.group == choice.Group.Name && k.sidecar.Name == choice.Definition.Name
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
		k.sidecar.Edited = true
		if k.sidecar.State == StateOK {
			k.sidecar.State = StateEdited
		}
		k.sidecar.Reason = where + " differs from definition, meta and policy"
	}
}

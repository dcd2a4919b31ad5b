package fleet

import (
	"slices"

	"github.com/hashicorp/go-version"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// pinned is a catalog in which the newest version of some sidecars is the one that a
// job was injected with.
type pinned struct {
	templater.Catalog
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

func definition(catalog templater.Catalog, name, digest string) *sidecar.Definition {
	for _, d := range catalog.Versions(name) {
		if d.Digest == digest {
			return d
		}
	}
	return nil
}

// edited injects once more what the job was injected with, and finds where the stored
// job is something else. That works for sidecars whose parameters meta and policy
// give, and of which the catalog still has the definition.
func (i *inspection) edited(raw []byte) {
	left := slices.DeleteFunc(i.verifiable, func(k known) bool {
		return k.sidecar.State == StateDoubtful || definition(i.Catalog, k.sidecar.Name, k.digest) == nil
	})
	for len(left) > 0 {
		// Groups may hold different versions of one sidecar: each round is about one.
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

// compareWith notes the sidecars that do not come out as they are stored.
func (i *inspection) compareWith(raw []byte, catalog pinned, about []known) {
	kept := i.keepable(i.chosen)
	c, diags := choose(raw, i.job.Ref().String(), catalog, i.Policy, kept)
	if diags.HasErrors() {
		return
	}
	// Only what is about to be compared: another sidecar must not stand in the way.
	c.Choices = slices.DeleteFunc(c.Choices, func(choice *templater.Choice) bool {
		return !slices.ContainsFunc(about, func(k known) bool {
			return k.group == choice.Group.Name && k.sidecar.Name == choice.Definition.Name
		})
	})
	edits, diags := templater.Plan(c.File.Job(), c.Choices)
	if diags.HasErrors() {
		return
	}
	made, diags := c.File.Apply(edits)
	if diags.HasErrors() {
		return
	}
	for _, k := range about {
		where, err := difference(made, raw, k.group, k.sidecar.Name)
		if err != nil || where == "" {
			continue
		}
		k.sidecar.Edited = true
		if k.sidecar.State == StateOK {
			k.sidecar.State = StateEdited
		}
		k.sidecar.Reason = where + " is not as definition, meta and policy have it"
	}
}

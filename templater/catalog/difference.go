package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// side is one of two states of a catalog: the digests of its definitions, as in
// Entry.Sidecars, and the available definitions by digest.
type side struct {
	digests     map[string]string
	definitions map[string]*sidecar.Definition
}

func sideOf(c *sidecar.Catalog) side {
	s := side{map[string]string{}, map[string]*sidecar.Definition{}}
	for _, d := range c.Definitions() {
		s.digests[d.Name+" "+d.Version.String()] = d.Digest
		s.definitions[d.Digest] = d
	}
	return s
}

// versions returns the versions of each sidecar, newest first.
func (s side) versions() map[string][]string {
	out := map[string][]string{}
	for key := range s.digests {
		name, v, _ := strings.Cut(key, " ")
		out[name] = append(out[name], v)
	}
	for _, versions := range out {
		slices.SortFunc(versions, func(x, y string) int {
			v, errX := version.NewVersion(x)
			w, errY := version.NewVersion(y)
			if errX != nil || errY != nil {
				return strings.Compare(y, x)
			}
			return w.Compare(v)
		})
	}
	return out
}

// differences lists the changes between two states of a catalog, sorted by name, one
// per line. If both definitions are available, indented lines list the parts of the
// definition that differ.
func differences(before, after side) []string {
	var out []string
	old, now := before.versions(), after.versions()
	names := maps.Clone(old)
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var gone, fresh []string
		for _, v := range old[name] {
			switch {
			case !slices.Contains(now[name], v):
				gone = append(gone, v)
			case before.digests[name+" "+v] != after.digests[name+" "+v]:
				out = append(out, changed(before, after, name, v, v)...)
			}
		}
		for _, v := range now[name] {
			if !slices.Contains(old[name], v) {
				fresh = append(fresh, v)
			}
		}
		for ; len(gone) > 0 && len(fresh) > 0; gone, fresh = gone[1:], fresh[1:] {
			out = append(out, changed(before, after, name, gone[0], fresh[0])...)
		}
		for _, v := range gone {
			out = append(out, fmt.Sprintf("%s %s (%s) was removed", name, v, short(before.digests[name+" "+v])))
		}
		for _, v := range fresh {
			out = append(out, fmt.Sprintf("%s %s (%s) is new", name, v, short(after.digests[name+" "+v])))
		}
	}
	return out
}

// changed lists the changes between two definitions.
func changed(before, after side, name, from, to string) []string {
	head := fmt.Sprintf("%s %s (%s) is now %s (%s)", name,
		from, short(before.digests[name+" "+from]), to, short(after.digests[name+" "+to]))
	if from == to {
		head += ", and has the same version"
	}
	was, is := before.definitions[before.digests[name+" "+from]], after.definitions[after.digests[name+" "+to]]
	if was == nil || is == nil {
		return []string{head}
	}
	out := []string{head}
	for _, line := range is.Changes(was) {
		out = append(out, "  "+line)
	}
	return out
}

// short abbreviates a digest.
func short(digest string) string {
	const length = len("sha256:") + 12
	if len(digest) > length {
		return digest[:length] + "…"
	}
	return digest
}

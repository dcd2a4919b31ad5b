package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// cannotBe is the reason shown for an invalid choice.
const cannotBe = "it is chosen but cannot be injected"

// Inspect judges a stored job, in the JSON of Nomad's API.
func (r *Rules) Inspect(raw []byte) (*Job, error) {
	head, err := readHeader(raw)
	if err != nil {
		return nil, err
	}
	j := head.job()
	c, diags := choose(raw, j.Ref().String(), r.Catalog, r.Policy, nil)
	if diags.HasErrors() {
		j.Problems = texts(diags)
		return j, nil
	}
	problems := r.problems(raw, j, c)
	j.Problems, j.Warnings = texts(problems), warnings(problems)
	for _, g := range c.Document.Job().Groups {
		j.group(g.Name)
	}
	i := &inspection{Rules: r, chosen: c, job: j}
	i.deprecated()
	if c.diags.HasErrors() {
		i.wrong = c.wrong()
	}
	i.marked()
	i.missing()
	i.proxies()
	i.edited(raw)
	return j, nil
}

// problems returns the diagnostics about the choice. The errors are as for an injection that keeps the sidecars
// which blocks and flags chose, as serve does.
func (r *Rules) problems(raw []byte, j *Job, c *chosen) hcl.Diagnostics {
	kept := slices.DeleteFunc(c.Keepable(), func(m job.Marked) bool {
		return m.Mark.Origin != templater.OriginBlock && m.Mark.Origin != templater.OriginFlag
	})
	if len(kept) == 0 {
		return c.diags
	}
	again, diags := choose(raw, j.Ref().String(), r.Catalog, r.Policy, kept)
	if diags.HasErrors() || c.diags.HasErrors() && !again.diags.HasErrors() {
		return c.diags
	}
	return again.diags
}

// deprecated adds warnings about sidecars that only their marks name, as a block or a flag chose them.
func (i *inspection) deprecated() {
	for _, m := range i.Document.Marks() {
		def := definition(i.Catalog, m.Mark.Name, m.Mark.Digest)
		if def == nil || def.Deprecated == "" || i.choice(m.Group, m.Mark.Name) != nil {
			continue
		}
		text := fmt.Sprintf("In group %q: Sidecar %q %s is deprecated: %s", m.Group, def.Name, def.Version, def.Deprecated)
		if !slices.Contains(i.job.Warnings, text) {
			i.job.Warnings = append(i.job.Warnings, text)
		}
	}
}

// inspection judges the sidecars of one job.
type inspection struct {
	*Rules
	*chosen
	job *Job
	// verifiable are the sidecars with known parameters, with the digests in their marks, by
	// group and name.
	verifiable []known
	// wrong are sidecars with an invalid choice; the job's problems describe it.
	wrong map[string]bool // by group and name
}

type known struct {
	group   string
	sidecar *Sidecar
	digest  string
}

// marked judges sidecars that have marks. Marks are visited from the last task of a
// group to the first.
func (i *inspection) marked() {
	seen := map[string]known{}
	marks := i.Document.Marks()
	for n := len(marks) - 1; n >= 0; n-- {
		m := marks[n]
		doubt := m.Mark.Doubt(i.Catalog, m.Task)
		if first, again := seen[m.Group+"/"+m.Mark.Name]; again {
			switch {
			case doubt != "":
				first.sidecar.State, first.sidecar.Reason = StateDoubtful, doubt
			case m.Mark.Digest != first.digest:
				first.sidecar.State, first.sidecar.Reason = StateDoubtful, "its tasks belong to different definitions"
			}
			continue
		}
		s := &Sidecar{Name: m.Mark.Name, Version: m.Mark.Version, Origin: m.Mark.Origin}
		i.add(m.Group, s)
		entry := known{m.Group, s, m.Mark.Digest}
		seen[m.Group+"/"+m.Mark.Name] = entry
		if doubt != "" {
			s.State, s.Reason = StateDoubtful, doubt
			continue
		}
		i.judge(m, s)
		if s.Needs == "" && i.choice(m.Group, s.Name) != nil {
			i.verifiable = append(i.verifiable, entry)
		}
	}
}

func (i *inspection) add(group string, s *Sidecar) {
	g := i.job.group(group)
	g.Sidecars = append(g.Sidecars, s)
}

// judge compares a verified mark with the choice or, if the choice is unknown, with the
// catalog.
func (i *inspection) judge(m job.Marked, s *Sidecar) {
	choice := i.choice(m.Group, s.Name)
	newest := i.Catalog.Find(s.Name)
	switch {
	case choice != nil:
		newest = choice.Definition
		if len(templater.Keepable([]job.Marked{m}, i.Choices, i.Catalog, i.Policy)) > 0 {
			s.Needs = NeedsSource
		}
	case i.wrong[m.Group+"/"+s.Name]:
		s.Reason = cannotBe
	case s.Origin == templater.OriginMeta:
		s.State, s.Reason, s.Needs = StateUnwanted, "meta chose it and no longer does", NeedsSource
		return
	case s.Origin == templater.OriginPolicy && i.Policy != nil:
		s.State, s.Reason = StateUnwanted, "the policy chose it and no longer does"
		return
	case s.Origin == templater.OriginPolicy:
		s.Needs = NeedsPolicy
	default:
		s.Needs = NeedsSource
	}
	s.compare(m.Mark, newest)
	if s.State == StateOK {
		s.Needs = ""
	}
}

// compare sets state and newest version from a mark and a definition.
func (s *Sidecar) compare(m *job.Mark, newest *sidecar.Definition) {
	s.Newest = newest.Version.String()
	have, err := version.NewVersion(m.Version)
	switch {
	case err != nil:
		s.State, s.Reason = StateDoubtful, "its "+job.MarkVersion+" is not a version"
	case have.LessThan(newest.Version):
		s.State = StateOutdated
	case have.GreaterThan(newest.Version):
		s.State = StateAhead
	case m.Digest != newest.Digest:
		s.State, s.Reason = StateChanged, "the catalog has another definition under this version"
	default:
		s.State = StateOK
	}
}

// missing finds sidecars that are chosen but not present.
func (i *inspection) missing() {
	for _, c := range i.Choices {
		i.unlessThere(c.Group.Name, &Sidecar{
			Name: c.Definition.Name, State: StateMissing, Newest: c.Definition.Version.String(), Origin: c.Origin, Reason: chosenBy(c),
		})
	}
	for _, key := range slices.Sorted(maps.Keys(i.wrong)) {
		cut := strings.LastIndex(key, "/") // sidecar names contain no slash
		i.unlessThere(key[:cut], &Sidecar{Name: key[cut+1:], State: StateMissing, Reason: cannotBe})
	}
}

func (i *inspection) unlessThere(group string, s *Sidecar) {
	g := i.job.group(group)
	if !slices.ContainsFunc(g.Sidecars, func(o *Sidecar) bool { return o.Name == s.Name }) {
		g.Sidecars = append(g.Sidecars, s)
	}
}

func chosenBy(c *templater.Choice) string {
	if c.Origin == templater.OriginPolicy && len(c.Rules) > 0 {
		return "rule " + c.Rules[0] + " chooses it"
	}
	return c.Origin + " chooses it"
}

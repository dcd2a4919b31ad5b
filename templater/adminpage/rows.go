package adminpage

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// States of rows in addition to the states of a sidecar.
const (
	stateNone    = "none"    // the group has no sidecar and needs none
	stateProblem = "problem" // the job could not be judged
)

// fleetRow is a sidecar of a group, or a job without any.
type fleetRow struct {
	*fleet.Job
	Group string
	*fleet.Sidecar
	State   string
	Finding string
}

// Key is stable across refreshes.
func (r fleetRow) Key() string {
	key := r.Namespace + "\x00" + r.ID + "\x00" + r.Group
	if r.Sidecar != nil {
		key += "\x00" + r.Sidecar.Name
	}
	return url.QueryEscape(key)
}

// Name, Have, Newest and By are dashes for a job without sidecars.
func (r fleetRow) Name() string   { return r.of(func(s *fleet.Sidecar) string { return s.Name }) }
func (r fleetRow) Have() string   { return r.of(func(s *fleet.Sidecar) string { return s.Version }) }
func (r fleetRow) Newest() string { return r.of(func(s *fleet.Sidecar) string { return s.Newest }) }
func (r fleetRow) By() string     { return r.of(func(s *fleet.Sidecar) string { return s.Origin }) }

func (r fleetRow) of(part func(*fleet.Sidecar) string) string {
	if r.Sidecar == nil {
		return "-"
	}
	return cmp.Or(part(r.Sidecar), "-")
}

// fleetRows returns the rows of "status", and rows for jobs that it omits.
func fleetRows(jobs []*fleet.Job) []fleetRow {
	rows := make([]fleetRow, 0, len(jobs))
	for _, j := range jobs {
		had := len(rows)
		for _, g := range j.Groups {
			for _, s := range g.Rows() {
				rows = append(rows, fleetRow{Job: j, Group: g.Name, Sidecar: s, State: s.State, Finding: finding(s, j)})
			}
		}
		if len(rows) > had {
			continue
		}
		row := fleetRow{Job: j, Group: "-", State: stateNone, Finding: strings.Join(j.Problems, "; ")}
		if len(j.Problems) > 0 {
			row.State = stateProblem
		}
		rows = append(rows, row)
	}
	return rows
}

// finding describes the state of a sidecar and the problems of its job.
func finding(s *fleet.Sidecar, j *fleet.Job) string {
	parts := j.Problems
	if text := s.Finding(); text != "" {
		parts = append([]string{text}, parts...)
	}
	return strings.Join(parts, "; ")
}

func fleetTable() *table[fleetRow] {
	by := func(part func(fleetRow) string) func(a, b fleetRow) int {
		return func(a, b fleetRow) int { return cmp.Compare(part(a), part(b)) }
	}
	return &table[fleetRow]{
		path: "/",
		columns: []column[fleetRow]{
			{"job", "Job", func(a, b fleetRow) int { return compareRefs(a.Job, b.Job) }},
			{"group", "Group", by(func(r fleetRow) string { return r.Group })},
			{"sidecar", "Sidecar", by(fleetRow.Name)},
			{"version", "Version", func(a, b fleetRow) int { return compareVersions(a.Have(), b.Have()) }},
			{"newest", "Newest", func(a, b fleetRow) int { return compareVersions(a.Newest(), b.Newest()) }},
			{"by", "By", by(fleetRow.By)},
			{"state", "State", by(func(r fleetRow) string { return r.State })},
			{"activity", "Job is", by(func(r fleetRow) string { return r.Activity })},
			{"finding", "Finding", by(func(r fleetRow) string { return r.Finding })},
		},
		text: func(r fleetRow) string {
			return strings.Join([]string{r.Namespace + "/" + r.ID, r.Group, r.Name(), r.By(), r.State, r.Activity, r.Finding}, "\n")
		},
		state: func(r fleetRow) string { return r.State },
	}
}

func upgradeTable() *table[*pending] {
	return &table[*pending]{
		path: "/upgrades",
		columns: []column[*pending]{
			{"job", "Job", func(a, b *pending) int { return compareRefs(a.Job, b.Job) }},
			{"sidecars", "Sidecars", func(a, b *pending) int {
				return cmp.Compare(strings.Join(a.Changes, "\n"), strings.Join(b.Changes, "\n"))
			}},
			{"command", "Command", nil},
		},
		text: func(p *pending) string {
			return p.Namespace + "/" + p.ID + "\n" + strings.Join(p.Changes, "\n") + "\n" + p.Why
		},
	}
}

// decisionTable lists all decisions, or only denials.
func decisionTable(path string) *table[Decided] {
	by := func(part func(Decided) string) func(a, b Decided) int {
		return func(a, b Decided) int { return cmp.Compare(part(a), part(b)) }
	}
	return &table[Decided]{
		path: path,
		columns: []column[Decided]{
			{"when", "When (UTC)", func(a, b Decided) int { return cmp.Compare(a.Number, b.Number) }},
			{"job", "Job", by(func(d Decided) string { return d.Namespace + "/" + d.Job })},
			{"decision", "Decision", by(func(d Decided) string { return d.Decision.Decision })},
			{"what", "Sidecars, or reason", nil},
			{"rules", "Rules", by(func(d Decided) string { return strings.Join(append(slices.Clone(d.Rules), d.Warned...), ", ") })},
			{"request", "Request", by(func(d Decided) string { return d.Route })},
			{"who", "Who", by(func(d Decided) string { return d.Accessor + " " + d.Client })},
		},
		text: func(d Decided) string {
			parts := []string{d.Namespace + "/" + d.Job, d.Decision.Decision, d.Route, d.Method + " " + d.Path, d.Client, d.Accessor}
			for _, s := range d.Sidecars {
				parts = append(parts, s.Sidecar)
			}
			return strings.Join(slices.Concat(parts, d.Rules, d.Warned, d.Reasons), "\n")
		},
		state: func(d Decided) string { return d.Decision.Decision },
	}
}

// Key is stable across refreshes.
func (d Decided) Key() string { return strconv.FormatUint(d.Number, 10) }

// Answer returns the status of a request that did not succeed, as the beginning of a text.
func (d Decided) Answer() string {
	switch {
	case d.Status == 0:
		return "no answer: "
	case d.Status >= http.StatusBadRequest:
		return strconv.Itoa(d.Status) + ": "
	}
	return ""
}

func compareRefs(a, b *fleet.Job) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ID, b.ID))
}

// compareVersions sorts texts that are not versions first.
func compareVersions(a, b string) int {
	x, errX := version.NewVersion(a)
	y, errY := version.NewVersion(b)
	switch {
	case errX != nil && errY != nil:
		return cmp.Compare(a, b)
	case errX != nil:
		return -1
	case errY != nil:
		return 1
	}
	return x.Compare(y)
}

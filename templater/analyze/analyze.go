package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Finding is a fault of a job.
type Finding struct {
	Code     Code
	Severity Severity
	Group    string // "" for the job
	Task     string // "" for the group
	Text     string
	Range    hcl.Range // zero if there is no source
}

// Settings change which findings there are.
type Settings struct {
	// Severities replace the default severity of a code.
	Severities map[string]Severity
	// MemoryMB is the most memory that an allocation may reserve; 0 is no limit.
	MemoryMB int
}

// Severity returns the severity of a code.
func (s Settings) Severity(c Code) Severity {
	if own, ok := s.Severities[c.ID]; ok {
		return own
	}
	return c.Severity
}

// Job checks a job as it stands with the edits of an injection applied, which may be none. Findings
// are in the order of their positions.
func Job(root *job.Node, edits []job.Edit, s Settings) []Finding {
	c := newChecker(s)
	w := newWorkload(inject(root, edits))
	for _, g := range w.Groups {
		c.group, c.portMap = g, newPortMap(g)
		c.network(w)
		c.lifecycle(w)
		c.files()
		c.memory()
		c.pods()
	}
	return Sorted(c.found)
}

// checker collects findings.
type checker struct {
	settings Settings
	codes    map[string]Code
	group    *group
	portMap  portMap
	found    []Finding
}

func newChecker(s Settings) *checker {
	c := &checker{settings: s, codes: map[string]Code{}}
	for _, code := range Codes() {
		c.codes[code.ID] = code
	}
	return c
}

// report adds a finding of the group, or of one of its tasks, with the arguments of the code's text.
func (c *checker) report(id string, t *task, at hcl.Range, args ...any) {
	code, ok := c.codes[id]
	severity := c.settings.Severity(code)
	if !ok || severity == Off {
		return
	}
	f := Finding{Code: code, Severity: severity, Text: fmt.Sprintf(code.Text, args...), Range: at}
	if c.group != nil {
		f.Group = c.group.Name
	}
	if t != nil {
		f.Task = t.Name
	}
	c.found = append(c.found, f)
}

// Sorted sorts findings by file, position, code and text, and drops repetitions.
func Sorted(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(
			strings.Compare(a.Range.Filename, b.Range.Filename), cmp.Compare(a.Range.Start.Byte, b.Range.Start.Byte),
			strings.Compare(a.Code.ID, b.Code.ID), strings.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(all, func(a, b Finding) bool {
		return a.Code.ID == b.Code.ID && a.Text == b.Text && a.Range == b.Range
	})
}

// Worst returns the highest severity.
func Worst(all []Finding) Severity {
	worst := Off
	for _, f := range all {
		worst = max(worst, f.Severity)
	}
	return worst
}

// quoted names a thing in a sentence.
func quoted(what, name string) string { return fmt.Sprintf("%s %q", what, name) }

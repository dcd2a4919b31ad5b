package cli

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
)

type analyzeCommand struct {
	p          *Program
	o          injectOptions
	json       bool
	severities texts
	threshold  string
	memory     int
}

func (*analyzeCommand) Synopsis() string { return "Find faults of jobs as workloads" }

func (c *analyzeCommand) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("analyze"))
	c.severities = nil
	fs.BoolVar(&c.json, "json", false, "Print the findings as JSON.")
	fs.Var(&c.severities, "severity", "`CODE=LEVEL` Severity of a code, such as NS1023=off: error, warning, info or off. It overrides the policy; may be repeated.")
	fs.StringVar(&c.threshold, "threshold", "error", "`LEVEL` Lowest severity with exit code 1: error, warning or info. Default is error.")
	fs.IntVar(&c.memory, "memory", 0, "`MB` Most memory that an allocation may reserve, sidecars included. It overrides the policy.")
	return fs
}

func (c *analyzeCommand) Help() string {
	return `Usage: nomad-sidecar analyze [options] JOB|-...

  Checks jobs, in HCL or in the JSON of Nomad's API, with the sidecars that inject
  would add: ports that no task can listen on, tasks that fail or stop badly, images
  without a version, keys that the pod driver refuses, and others. A value that is
  not known causes no finding that assumes one. The codes are in docs/analyze.md.

` + flagHelp(c) + `

  Exit codes: 0 no finding at or above the threshold, 1 a finding or an error in the
  input, 2 wrong usage.`
}

func (c *analyzeCommand) Run(args []string) int {
	paths, threshold, severities, err := c.parse(args)
	if err != nil {
		return c.p.usage(err)
	}
	r := c.p.reporter()
	all, failed := []analyzed{}, false
	for _, path := range paths {
		o := c.o
		o.path = path
		found, diags := c.one(&o, r, severities)
		if r.report(diags) {
			failed = true
		}
		all = append(all, found...)
	}
	if failed {
		return exitError
	}
	out := findingsText(all)
	if c.json {
		var diags hcl.Diagnostics
		if out, diags = marshal(newAnalysis(all)); r.report(diags) {
			return exitError
		}
	}
	if code := c.p.write(r, out); code != exitDone {
		return code
	}
	if worst := worstOf(all); worst >= threshold {
		return exitError
	}
	return exitDone
}

// parse reads the command line.
func (c *analyzeCommand) parse(args []string) (paths []string, threshold analyze.Severity, severities map[string]analyze.Severity, err error) {
	if paths, err = parse(c.flags(), args); err != nil {
		return nil, 0, nil, err
	}
	if len(paths) == 0 {
		return nil, 0, nil, fmt.Errorf("analyze takes job files, or - for stdin; see nomad-sidecar analyze -help")
	}
	if i := slices.Index(paths, "-"); i >= 0 && slices.Contains(paths[i+1:], "-") {
		return nil, 0, nil, fmt.Errorf("stdin can be read only once: give - once")
	}
	if c.memory < 0 {
		return nil, 0, nil, fmt.Errorf("-memory must be a number of MB, not %d", c.memory)
	}
	threshold, err = analyze.ParseSeverity(c.threshold)
	if err != nil || threshold == analyze.Off {
		return nil, 0, nil, fmt.Errorf("-threshold must be error, warning or info, not %q", c.threshold)
	}
	if severities, err = parseSeverities(c.severities); err != nil {
		return nil, 0, nil, err
	}
	c.o.flags, err = chooseFlags(c.o.with, c.o.params)
	c.o.flags.Groups = c.o.groups
	return paths, threshold, severities, err
}

// parseSeverities reads -severity CODE=LEVEL.
func parseSeverities(list []string) (map[string]analyze.Severity, error) {
	out := map[string]analyze.Severity{}
	for _, text := range list {
		id, name, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("-severity must be CODE=LEVEL, such as NS1023=off, not %q", text)
		}
		if _, ok := analyze.Find(id); !ok {
			return nil, fmt.Errorf("-severity: there is no code %q; they are in docs/analyze.md", id)
		}
		severity, err := analyze.ParseSeverity(name)
		if err != nil {
			return nil, fmt.Errorf("-severity %s: %w", id, err)
		}
		out[id] = severity
	}
	return out, nil
}

// analyzed is a finding and the job that has it.
type analyzed struct {
	job  string
	file string // as given
	analyze.Finding
}

// one checks one job.
func (c *analyzeCommand) one(o *injectOptions, r *reporter, severities map[string]analyze.Severity) ([]analyzed, hcl.Diagnostics) {
	in, diags := c.p.open(o, r)
	if diags.HasErrors() {
		return nil, diags
	}
	settings := analyze.Settings{Severities: map[string]analyze.Severity{}}
	if rules, ok := o.flags.Policy.(*policy.Policy); ok {
		settings.MemoryMB = rules.Analysis().MemoryMB
		maps.Copy(settings.Severities, rules.Analysis().Severities)
	}
	maps.Copy(settings.Severities, severities)
	if c.memory > 0 {
		settings.MemoryMB = c.memory
	}
	doc, ok := in.doc.(analyze.Document)
	if !ok {
		return nil, append(diags, failure("Cannot check the job", in.name+" cannot be read as a whole.")...)
	}
	injection, selected := templater.Select(doc, in.catalog, o.flags)
	found, more := analyze.Injection(injection, doc, selected, settings)
	r.hide(injection.Secrets())
	out := make([]analyzed, 0, len(found))
	for _, f := range found {
		out = append(out, analyzed{doc.Job().ID.String(), in.name, f})
	}
	return out, append(diags, more...)
}

func worstOf(all []analyzed) analyze.Severity {
	worst := analyze.Off
	for _, f := range all {
		worst = max(worst, f.Severity)
	}
	return worst
}

// place returns the position of a finding, or the job file.
func (f analyzed) place() string {
	if f.Range == (hcl.Range{}) {
		return f.file
	}
	return fmt.Sprintf("%s:%d", f.Range.Filename, f.Range.Start.Line)
}

// findingsText lists the findings for people.
func findingsText(all []analyzed) []byte {
	var out bytes.Buffer
	counts := map[analyze.Severity]int{}
	for _, f := range all {
		counts[f.Severity]++
		display.Fprintf(&out, "%s: %s %s: %s\n", f.place(), f.Severity.String(), f.Code.ID, f.Text)
		display.Fprintf(&out, "  Fix: %s\n", f.Code.Fix)
	}
	if len(all) > 0 {
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "%d errors, %d warnings, %d infos\n", counts[analyze.Error], counts[analyze.Warning], counts[analyze.Info])
	return out.Bytes()
}

// analysis is the output of analyze -json.
type analysis struct {
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
	Infos    int           `json:"infos"`
	Findings []findingJSON `json:"findings"`
}

type findingJSON struct {
	Code     string `json:"code"`
	Name     string `json:"name"`
	Severity string `json:"severity"`
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"` // 0 if there is no source
	Column   int    `json:"column,omitempty"`
	Job      string `json:"job"`
	Group    string `json:"group,omitempty"`
	Task     string `json:"task,omitempty"`
	Text     string `json:"text"`
	Fix      string `json:"fix"`
}

func newAnalysis(all []analyzed) analysis {
	out := analysis{Findings: []findingJSON{}}
	for _, f := range all {
		switch f.Severity {
		case analyze.Error:
			out.Errors++
		case analyze.Warning:
			out.Warnings++
		default:
			out.Infos++
		}
		one := findingJSON{
			Code: f.Code.ID, Name: f.Code.Name, Severity: f.Severity.String(), File: f.file,
			Job: f.job, Group: f.Group, Task: f.Task, Text: f.Text, Fix: f.Code.Fix,
		}
		if f.Range != (hcl.Range{}) {
			one.File, one.Line, one.Column = f.Range.Filename, f.Range.Start.Line, f.Range.Start.Column
		}
		out.Findings = append(out.Findings, one)
	}
	return out
}

package cli

import (
	"bytes"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

type explain struct {
	p    *Program
	o    injectOptions
	json bool
}

func (*explain) Synopsis() string { return "Show which sidecars are chosen for a job, and why" }

func (c *explain) flags() *flag.FlagSet {
	fs := c.o.declare(newFlags("explain"))
	fs.BoolVar(&c.json, "json", false, "Print it as JSON.")
	return fs
}

func (c *explain) Help() string {
	return `Usage: nomad-sidecar explain [options] JOB|-

  Prints for each group of the job and each sidecar of the catalog whether it is
  injected, what chose or excluded it and where, and each parameter with its value
  and origin. Values of sensitive parameters are not shown.

` + flagHelp(c) + `

  Exit codes: 0 success, 1 an error in the input, 2 wrong usage.`
}

func (c *explain) Run(args []string) int {
	fs, o := c.flags(), &c.o
	if err := o.parse(fs, args); err != nil {
		return c.p.usage(err)
	}
	r := c.p.reporter()
	in, diags := c.p.choose(o, r)
	if in.Injection == nil {
		r.report(diags)
		return exitError
	}
	var totals []templater.Total
	if !diags.HasErrors() {
		diags = append(diags, in.Plan()...)
		totals = in.Totals()
	}
	proxies, _ := templater.Proxies(in.doc.Job(), in.Flags) // Plan reports unknown values
	out := explainText(in.doc.Job(), in.Injection, proxies, totals)
	if c.json {
		var more hcl.Diagnostics
		out, more = explainJSON(in.doc.Job(), in.Injection, proxies, totals)
		diags = append(diags, more...)
	}
	if code := c.p.write(r, r.redact(out)); code != exitDone {
		return code
	}
	if r.report(diags) {
		return exitError
	}
	return exitDone
}

func explainText(j *job.Job, made *templater.Injection, proxies []*templater.Proxy, totals []templater.Total) []byte {
	told := made.Explain()
	var out bytes.Buffer
	for i, g := range j.Groups {
		if i > 0 {
			out.WriteString("\n")
		}
		display.Fprintf(&out, "group %q%s\n", g.Name, in(g.Range))
		explainSidecars(&out, g, told)
		for _, p := range proxies {
			if p.Group == g {
				explainProxy(&out, p)
			}
		}
		for _, s := range made.Defaults {
			if s.Group == g {
				explainDefault(&out, s)
			}
		}
		for _, t := range totals {
			if t.Group == g.Name {
				display.Fprintf(&out, "  together they add to each allocation: %s\n", resourcesText(t))
			}
		}
	}
	unknown := slices.IndexFunc(totals, func(t templater.Total) bool { return t.Count < 0 })
	switch {
	case unknown >= 0:
		display.Fprintf(&out, "\njob %q: the sum for all allocations depends on the count of group %q, which is unknown\n", j.ID, totals[unknown].Group)
	case len(totals) > 1 || (len(totals) == 1 && totals[0].Count != 1):
		display.Fprintf(&out, "\njob %q: the sidecars of all allocations together: %s\n", j.ID, resourcesText(templater.Total{Resources: templater.Sum(totals)}))
	}
	return out.Bytes()
}

// explainSidecars describes the sidecars of a group, and names those that nothing chooses in one
// line: a catalog has many.
func explainSidecars(out *bytes.Buffer, g *job.Group, told []*templater.Explanation) {
	var others []*templater.Explanation
	for _, e := range told {
		switch {
		case e.Group != g:
		case e.State == templater.StateNotChosen && e.Reason == templater.ReasonNothing:
			others = append(others, e)
		default:
			explainOne(out, e)
		}
	}
	if len(others) == 1 {
		explainOne(out, others[0])
		return
	}
	var names []string
	for _, e := range others {
		names = append(names, e.Sidecar)
	}
	if len(names) > 0 {
		display.Fprintf(out, "  not chosen: %s: nothing chooses them\n", strings.Join(names, ", "))
	}
}

func explainOne(out *bytes.Buffer, e *templater.Explanation) {
	title := e.Sidecar
	if e.Definition != nil {
		title += " " + e.Definition.Version.String()
	}
	display.Fprintf(out, "  %s: %s%s%s\n", title, e.State, by(e), because(e))
	if len(e.Constraints) > 0 {
		display.Fprintf(out, "    version %s\n", strings.Join(e.Constraints, " and "))
	}
	if e.State == templater.StateChosen && e.Definition.Deprecated != "" {
		display.Fprintf(out, "    deprecated: %s\n", e.Definition.Deprecated)
	}
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	for _, p := range e.Parameters {
		value := "(sensitive)"
		if !p.Sensitive {
			value = sidecar.Value(p.Value, sidecar.Style{Flat: true})
		}
		display.Fprintf(w, "    %s\t= %s\t  %s%s%s\n", p.Name, value, p.Source.Origin, in(p.Source.Range), notes(p))
	}
	_ = w.Flush() // a buffer accepts everything
}

func notes(p templater.ParameterValue) string {
	return after("; from ", strings.Join(p.Uses, ", ")) + after("; deprecated: ", p.Deprecated)
}

func explainProxy(out *bytes.Buffer, p *templater.Proxy) {
	from := p.Source()
	text := fmt.Sprintf("driver %s by %s%s", p.Driver, from.Origin, in(from.Range))
	if p.Reason != "" {
		text = fmt.Sprintf("%s: %s; %s%s chose driver %s", p.State, p.Reason, from.Origin, in(from.Range), p.Driver)
	}
	display.Fprintf(out, "  proxy of service %q: %s\n", p.Service.Name.String(), text)
}

func explainDefault(out *bytes.Buffer, s *templater.DefaultState) {
	where, d := "", s.Default
	if s.Task != "" {
		where = fmt.Sprintf(" of task %q", s.Task)
	}
	display.Fprintf(out, "  default %s%s: %s; rule %q%s\n", d.Name(), where, defaultText(s), d.Rule, in(d.Range))
}

func defaultText(s *templater.DefaultState) string {
	switch s.State {
	case templater.DefaultSet:
		return "set"
	case templater.DefaultNotUsed:
		return "not used, jobs of this type cannot have it"
	case templater.DefaultNotSeen:
		return "not set, the job has it" + in(s.Written) + ", from its author or from Nomad"
	}
	return "not set, the job has it" + in(s.Written)
}

func by(e *templater.Explanation) string {
	var names []string
	for _, s := range e.Sources {
		names = append(names, s.Origin+in(s.Range))
	}
	if len(names) == 0 {
		return ""
	}
	if e.State == templater.StateExcluded {
		return ", though chosen by " + strings.Join(names, ", ")
	}
	return " by " + strings.Join(names, ", ")
}

func because(e *templater.Explanation) string {
	if e.Reason == "" {
		return ""
	}
	return ": " + e.Reason
}

func in(at hcl.Range) string {
	if at == (hcl.Range{}) {
		return ""
	}
	return fmt.Sprintf(" (%s:%d)", at.Filename, at.Start.Line)
}

func resourcesText(t templater.Total) string {
	var parts []string
	part := func(n int, unit string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		}
	}
	counted := func(n int, unit string) {
		if n != 1 {
			unit += "s"
		}
		part(n, unit)
	}
	counted(t.Tasks, "task")
	part(t.CPUMHz, "MHz")
	counted(t.Cores, "core")
	part(t.MemoryMB, "MB")
	if t.MemoryMaxMB > t.MemoryMB {
		part(t.MemoryMaxMB, "MB at most")
	}
	counted(t.Ports, "port")
	part(t.DiskMB, "MB of logs")
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

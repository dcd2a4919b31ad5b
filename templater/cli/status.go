package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

type status struct {
	p *Program
	o fleetOptions
}

func (*status) Synopsis() string { return "Show the sidecars of a cluster's jobs" }

func (c *status) flags() *flag.FlagSet { return c.o.declare(newFlags("status"), "Print it as JSON.") }

func (c *status) Help() string {
	return `Usage: nomad-sidecar status [options] [JOB-PREFIX]

  Reads the jobs of a cluster and prints for each group its sidecars, with version and
  state, and those that it should have. It changes nothing.

` + flagHelp(c) + `
` + fleetNomadHelp + `

  Exit codes: 0 all sidecars are up to date, 1 some are not, 255 an error, also if a
  job could not be read. Stopped and finished jobs do not count.`
}

func (c *status) Run(args []string) int {
	fs, o := c.flags(), &c.o
	err := o.parse(fs, args)
	if err == nil && len(o.rest) > 1 {
		err = fmt.Errorf("status takes one prefix of the IDs of jobs, but was also given %q", o.rest[1])
	}
	if err != nil {
		c.p.usage(err)
		return exitFailed
	}
	ctx, stop := untilInterrupted(os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := c.p.reporter()
	rules, diags := c.p.fleetRules(o, r)
	if r.report(diags) {
		return exitFailed
	}
	scan, err := c.p.fleetScan(o, rules)
	if err != nil {
		r.report(failureOf("Cannot reach Nomad", err))
		return exitFailed
	}
	if len(o.rest) == 1 {
		scan.Ask.Prefix = o.rest[0]
	}
	jobs, err := c.p.scan(ctx, scan)
	if err != nil {
		r.report(failureOf("Cannot read the jobs", err))
		return exitFailed
	}
	return c.show(r, o, jobs)
}

func (c *status) show(r *reporter, o *fleetOptions, jobs []*fleet.Job) int {
	out := statusText(jobs)
	if o.json {
		raw, diags := marshal(struct {
			Jobs []*fleet.Job `json:"jobs"`
		}{append([]*fleet.Job{}, jobs...)})
		if r.report(diags) {
			return exitFailed
		}
		out = raw
	}
	if c.p.write(r, out) != exitDone {
		return exitFailed
	}
	if c.p.unreadable(r, jobs) {
		return exitFailed
	}
	if slices.ContainsFunc(jobs, (*fleet.Job).Differs) {
		return exitChanged
	}
	return exitSame
}

// unreadable reports the jobs that Nomad did not return, and whether there are any.
func (p *Program) unreadable(r *reporter, jobs []*fleet.Job) (some bool) {
	for _, j := range jobs {
		if j.Unreadable {
			some = true
			r.report(failure("Job not read", fmt.Sprintf("Job %q of namespace %q: %s.", j.ID, j.Namespace, strings.Join(j.Problems, "; "))))
		}
	}
	return some
}

// statusText formats a table of all sidecars, followed by remarks.
func statusText(jobs []*fleet.Job) []byte {
	var out, notes bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tJOB\tGROUP\tSIDECAR\tVERSION\tNEWEST\tBY\tSTATE\tJOB IS")
	rows, differ, idle := 0, 0, 0
	for _, j := range jobs {
		for _, g := range j.Groups {
			for _, s := range g.Rows() {
				rows++
				display.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.Namespace, j.ID, g.Name, s.Name, dash(s.Version), dash(s.Newest), dash(s.Origin), s.State, j.Activity)
			}
		}
		if j.Differs() {
			differ++
		}
		if !j.Active() {
			idle++
		}
		statusNotes(&notes, j)
	}
	if rows == 0 {
		out.Reset()
	} else {
		_ = w.Flush() // a buffer accepts everything
		out.WriteString("\n")
	}
	if notes.Len() > 0 {
		out.Write(notes.Bytes())
		out.WriteString("\n")
	}
	display.Fprintf(&out, "%s, %d of them differ; %d stopped or dead, which are not counted\n", number(len(jobs), "job"), differ, idle)
	return out.Bytes()
}

func statusNotes(out *bytes.Buffer, j *fleet.Job) {
	var lines []string
	if j.Owner != "" && len(j.Sidecars())+len(j.Proxies()) > 0 {
		lines = append(lines, fmt.Sprintf("registered by %s, which would undo changes made here", j.Owner))
	}
	for _, p := range j.Problems {
		if !j.Unreadable {
			lines = append(lines, p)
		}
	}
	for _, text := range j.Warnings {
		lines = append(lines, "warning: "+text)
	}
	for _, g := range j.Groups {
		for _, s := range g.Rows() {
			if text := s.Finding(); text != "" {
				lines = append(lines, fmt.Sprintf("group %s, %s: %s", g.Name, s.Name, text))
			}
		}
	}
	for _, line := range lines {
		display.Fprintf(out, "%s/%s: %s\n", j.Namespace, j.ID, line)
	}
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// upgrade is also used by eject -fleet.
type upgrade struct {
	p     *Program
	eject bool
	o     upgradeOptions
}

func (c *upgrade) verb() string {
	if c.eject {
		return fleet.VerbEject
	}
	return fleet.VerbUpgrade
}

func (*upgrade) Synopsis() string { return "Upgrade the sidecars of a cluster's jobs" }

func (c *upgrade) flags() *flag.FlagSet { return c.o.declare(newFlags(c.verb())) }

func (c *upgrade) Help() string {
	return `Usage: nomad-sidecar upgrade [options] [JOB]…

  Injects the sidecars that meta and the policy choose from the current catalog again
  into jobs that Nomad has. It first prints the jobs that change and the tasks that
  restart. Then it asks for confirmation and registers the jobs in batches, each when
  the previous one is healthy. It stops at the first unhealthy job. Run the command
  again to continue.

  Without -state it is a dry run. Filters select jobs; all sidecars of a selected job
  are upgraded.

` + flagHelp(c) + `
` + fleetNomadHelp + `

  Exit codes: 0 everything is done or there is nothing to do, 1 not done or an error,
  2 wrong usage.`
}

type upgradeOptions struct {
	fleetOptions
	state                          string
	batch                          int
	yes, owned, skipFailed, revert bool
	fleet                          bool // set for eject
	prefetch                       prefetchOptions
}

// declare adds the flags to a flag set of upgrade or eject, and resets them.
func (o *upgradeOptions) declare(fs *flag.FlagSet) *flag.FlagSet {
	*o = upgradeOptions{}
	o.fleetOptions.declare(fs, "Print the plan and its results as JSON; other lines go to stderr.")
	if fs.Name() == fleet.VerbUpgrade {
		o.prefetch.declare(fs)
	}
	if fs.Name() == fleet.VerbEject {
		fs.BoolVar(&o.fleet, "fleet", false, "Remove the sidecars from jobs that a cluster runs. All other flags except -catalog require it.")
	}
	fs.StringVar(&o.state, "state", "", "`FILE` Records progress, to resume or revert later; use a separate file for each upgrade.")
	fs.IntVar(&o.batch, "batch", 1, "`N` Number of jobs per batch. Default is 1.")
	fs.BoolVar(&o.yes, "yes", false, "Do not ask for confirmation.")
	fs.BoolVar(&o.owned, "owned", false, "Also change jobs that another tool registers: nomad-pack, or the tool in their meta \"managed_by\".")
	fs.BoolVar(&o.skipFailed, "skip-failed", false, "Continue even if a job that failed before has not changed.")
	fs.BoolVar(&o.revert, "revert", false, "Revert each job in -state to its previous version.")
	return fs
}

func (o *upgradeOptions) parse(fs *flag.FlagSet, args []string) error {
	err := o.fleetOptions.parse(fs, args)
	if err == nil && fs.Name() == fleet.VerbUpgrade {
		err = o.prefetch.check(fs)
	}
	switch {
	case err != nil:
		return err
	case o.prefetch.on && o.revert:
		return errors.New("-prefetch pulls images for an upgrade, and -revert reverts one: leave one of them out")
	case o.batch < 1:
		return fmt.Errorf("-batch must be at least 1, not %d", o.batch)
	case o.revert && o.state == "":
		return errors.New("-revert requires -state, the file written by the first run")
	case o.yes && o.state == "":
		return errors.New("-yes requires -state, the file that records progress")
	case o.revert && len(o.rest)+len(o.sidecars)+len(o.states) > 0:
		return errors.New("-revert reverts all jobs in -state and accepts neither filters nor jobs")
	}
	return nil
}

// upgrading is one run of the command.
type upgrading struct {
	p     *Program
	verb  string
	o     *upgradeOptions
	r     *reporter
	lines io.Writer // output for people
	run   *fleet.Upgrade
	steps []*fleet.Step
}

func (c *upgrade) Run(args []string) int {
	u := &upgrading{p: c.p, verb: c.verb(), o: &c.o, r: c.p.reporter(), lines: c.p.Stdout}
	if err := u.o.parse(c.flags(), args); err != nil {
		return c.p.usage(err)
	}
	if u.o.json {
		u.lines = c.p.Stderr
	}
	ctx, stop := untilInterrupted(interrupts()...)
	defer stop()
	rules, diags := c.p.fleetRules(&u.o.fleetOptions, u.r)
	if u.r.report(diags) {
		return exitError
	}
	nomad, err := cluster.Open()
	if err != nil {
		u.r.report(failureOf("Cannot reach Nomad", err))
		return exitError
	}
	connected := &fleetNomad{Cluster: nomad, prefetch: u.o.prefetch}
	u.run = &fleet.Upgrade{
		Planner: fleet.Planner{Nomad: connected, Rules: rules, Owned: u.o.owned, Parallel: u.o.parallel, Eject: c.eject},
		Batch:   u.o.batch, SkipFailed: u.o.skipFailed,
		Report: func(of fleet.Ref, line string) { display.Fprintf(u.lines, "%s: %s\n", of, line) },
	}
	connected.report = u.run.Report
	if u.o.state != "" {
		file, err := u.journal()
		if err != nil {
			u.r.report(failureOf("Cannot use the state file", err))
			return exitError
		}
		defer file.Close()
	}
	code := u.do(ctx)
	if u.o.json {
		out, diags := marshal(struct {
			Steps []*fleet.Step `json:"steps"`
		}{append([]*fleet.Step{}, u.steps...)})
		if u.r.report(diags) || c.p.write(u.r, out) != exitDone {
			return exitError
		}
	}
	return code
}

// syncing writes each line to disk before it returns.
type syncing struct{ *os.File }

func (s syncing) Write(line []byte) (int, error) {
	n, err := s.File.Write(line)
	return n, errors.Join(err, s.Sync())
}

func (u *upgrading) journal() (*os.File, error) {
	flags := os.O_RDWR | os.O_APPEND
	if !u.o.revert {
		flags |= os.O_CREATE
	}
	file, err := os.OpenFile(u.o.state, flags, 0o600)
	if err != nil {
		return nil, err
	}
	// Two concurrent runs would each miss the changes of the other.
	if err = lockFile(file); err == nil {
		u.run.Journal, err = fleet.OpenJournal(u.verb, file, syncing{file})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", u.o.state, err), file.Close())
	}
	return file, nil
}

// do plans, asks for confirmation, and carries out the plan.
func (u *upgrading) do(ctx context.Context) int {
	if failed := u.plan(ctx); failed {
		return exitError
	}
	planned := 0
	for _, s := range u.steps {
		u.show(s)
		if s.Outcome == fleet.Planned {
			planned++
		}
	}
	display.Fprintf(u.lines, "%s to change, in batches of %d\n", number(planned, "job"), u.o.batch)
	switch {
	case u.o.state == "" && planned == 0:
		return u.code(nil)
	case u.o.state == "":
		fmt.Fprintln(u.lines, "Dry run. Pass -state FILE to apply the plan; you will be asked to confirm.")
		return exitError
	case planned > 0 && !u.o.yes && !u.confirmed():
		fmt.Fprintln(u.lines, "Nothing was changed.")
		return exitError
	}
	if u.o.revert {
		return u.code(u.run.Revert(ctx, u.steps))
	}
	return u.code(u.run.Run(ctx, u.steps))
}

func (u *upgrading) plan(ctx context.Context) (failed bool) {
	var err error
	if u.o.revert {
		u.steps, err = u.run.PlanRevert(ctx)
		return err != nil && u.r.report(failureOf("Cannot plan the revert", err))
	}
	scan := &fleet.Scan{
		Nomad: u.run.Nomad, Rules: u.run.Rules, Ask: fleet.Ask{Namespace: u.o.namespace}, IDs: u.o.rest,
		Filter: fleet.Filter{Sidecars: u.o.sidecars, States: u.o.states}, Parallel: u.o.parallel,
	}
	if len(u.o.rest) == 1 {
		scan.Ask.Prefix = u.o.rest[0]
	}
	jobs, err := u.p.scan(ctx, scan)
	if err != nil {
		return u.r.report(failureOf("Cannot read the jobs", err))
	}
	if u.absent(jobs) {
		return true
	}
	if u.run.Eject {
		u.run.Only = u.o.sidecars
	}
	u.run.Named = u.o.rest
	u.steps, err = u.run.Plan(ctx, jobs)
	return err != nil && u.r.report(failureOf("Cannot plan the changes", err))
}

// absent reports named jobs that do not exist, which a filter would hide.
func (u *upgrading) absent(jobs []*fleet.Job) (some bool) {
	for _, id := range u.o.rest {
		there := slices.ContainsFunc(jobs, func(j *fleet.Job) bool { return j.ID == id })
		if !there && len(u.o.sidecars)+len(u.o.states) == 0 {
			some = u.r.report(failure("No such job", fmt.Sprintf("Job %q not found. Check its ID and -namespace, or use a token that may read it.", id)))
		}
	}
	return some
}

func (u *upgrading) show(s *fleet.Step) {
	if s.Outcome != fleet.Planned {
		display.Fprintf(u.lines, "%s: %s%s\n", s.Ref(), s.Outcome, after(": ", s.Why))
		return
	}
	display.Fprintf(u.lines, "%s\n", s.Ref())
	for _, line := range s.Changes {
		display.Fprintf(u.lines, "  %s\n", line)
	}
	for _, line := range s.Left {
		display.Fprintf(u.lines, "  remains: %s\n", line)
	}
	for _, line := range s.Warnings {
		display.Fprintf(u.lines, "  warning: %s\n", line)
	}
	if s.Deployment != "" {
		display.Fprintf(u.lines, "  deployment: %s\n", s.Deployment)
	}
	if len(s.Restarts) > 0 {
		display.Fprintf(u.lines, "  restarts: %s\n", strings.Join(s.Restarts, ", "))
	}
	if len(s.InPlace) > 0 {
		display.Fprintf(u.lines, "  updated in place: %s\n", strings.Join(s.InPlace, ", "))
	}
	for _, line := range s.Unplaced {
		display.Fprintf(u.lines, "  cannot be placed: %s\n", line)
	}
}

func after(sign, text string) string {
	if text == "" {
		return ""
	}
	return sign + text
}

func (u *upgrading) confirmed() bool {
	fmt.Fprint(u.p.Stderr, `Proceed? Only "yes" is accepted: `)
	line, _ := bufio.NewReader(u.p.Stdin).ReadString('\n') // an answer without a line end counts too
	return strings.TrimSpace(line) == "yes"
}

// code reports the error that stopped the run, and skipped jobs.
func (u *upgrading) code(err error) int {
	if err != nil {
		how := "Run the command again to continue, or with -revert to undo."
		if u.o.revert {
			how = "Run the command again to continue."
		}
		u.r.report(failure("Incomplete", sentence(err)+" "+how))
		return exitError
	}
	if slices.ContainsFunc(u.steps, func(s *fleet.Step) bool { return s.Outcome == fleet.Skipped }) {
		return exitError
	}
	return exitDone
}

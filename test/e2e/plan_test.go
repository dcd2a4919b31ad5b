package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// TestPlan_PredictsRestarts checks that exactly the tasks restart that the plan predicts.
// Trap I13.
func TestPlan_PredictsRestarts(t *testing.T) {
	t.Parallel()
	const catalogs = repository + "/jobs/sidecars"
	web := []string{"-catalog", catalogs, "-catalog", "testdata/catalog", "-with", "clock"}
	pair := []string{"-catalog", "testdata/catalog"}
	none := map[string]string{}
	all := map[string]string{"web/app": "restarts", "web/tls-proxy": "restarts", "web/topz": "restarts", "web/clock": "restarts"}

	c := start(t, "runc")
	for _, job := range []struct {
		id, file string
		tasks    int
		options  []string
		changes  []change
	}{
		{"web", webJob, 4, web, []change{
			{"nothing", nil, none},
			{"a port", []string{"-param", "topz.port=8100"}, all},
			{"a kill timeout", []string{"-param", "topz.port=8100", "-param", "clock.patience=9s"}, map[string]string{"web/clock": "changed in place"}},
			{"a variable", []string{"-param", "topz.port=8100", "-param", "clock.patience=9s", "-param", "clock.format=%s"}, all},
		}},
		{"pair", "testdata/pair.nomad.hcl", 4, pair, []change{
			{"one group", []string{"-var", "format=%s"}, map[string]string{"one/app": "restarts", "one/clock": "restarts"}},
		}},
	} {
		c.templater(append(append([]string{"run", "-detach"}, job.options...), job.file)...)
		var last map[string]taskRun
		c.eventually("all tasks run", func() error {
			if last = c.taskRuns(job.id); len(last) != job.tasks {
				return fmt.Errorf("only %v restarted", last)
			}
			return nil
		})
		for _, change := range job.changes {
			c.t.Run(job.id+": "+change.name, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				args := append(append([]string{}, job.options...), change.options...)
				must.Eq(t, change.want, predicted(c.templater(append(append([]string{"plan"}, args...), job.file)...)))
				before := c.taskRuns(job.id)
				must.Eq(t, last, before, must.Sprint("no later restart"))
				c.templater(append(append([]string{"run", "-detach"}, args...), job.file)...)
				c.eventually("the tasks are as planned", func() error {
					last = c.taskRuns(job.id)
					return checkPlanned(before, last, change.want)
				})
			})
		}
	}
}

// change is a choice of sidecars, and the plan's prediction for each changed task.
type change struct {
	name    string
	options []string
	want    map[string]string
}

// predicted returns the prediction for each task in a plan, without the reason.
func predicted(plan string) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  (\S+/\S+): (restarts|changed in place|not changed)\b`).FindAllStringSubmatch(plan, -1) {
		if m[2] != "not changed" {
			out[m[1]] = m[2]
		}
	}
	return out
}

// templater runs a command of the templater that connects to Nomad.
func (c *cluster) templater(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.ctx, program(c.t, "nomad-sidecar"), args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+c.Address())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// A plan with changes exits with 1 and an empty stderr.
	if err != nil && (args[0] != "plan" || stderr.Len() > 0) {
		c.t.Fatalf("%s: %s\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// taskRun identifies a run of a task.
type taskRun struct {
	alloc, started string
	restarts       uint64
	version        uint64 // version of the job
}

// taskRuns returns the running tasks of a job by "group/task".
func (c *cluster) taskRuns(job string) map[string]taskRun {
	c.t.Helper()
	stubs, _, err := c.Client().Jobs().Allocations(job, false, nil)
	must.NoError(c.t, err)
	out := map[string]taskRun{}
	for _, stub := range stubs {
		for task, state := range stub.TaskStates {
			if stub.DesiredStatus == api.AllocDesiredStatusRun && state.State == "running" {
				out[stub.TaskGroup+"/"+task] = taskRun{stub.ID, state.StartedAt.String(), state.Restarts, stub.JobVersion}
			}
		}
	}
	return out
}

// checkPlanned checks that exactly the tasks that should restart did, and that all run the newest
// version of the job.
func checkPlanned(before, now map[string]taskRun, want map[string]string) error {
	for task, was := range before {
		is, runs := now[task]
		gone := want[task] == "removed"
		switch {
		case runs == gone:
			return fmt.Errorf("%s: running is %v", task, runs)
		case gone:
		case (is.alloc != was.alloc) != (want[task] == "restarts"):
			return fmt.Errorf("%s: allocation %s, then %s, but the plan is %q", task, was.alloc, is.alloc, want[task])
		case is.alloc == was.alloc && (is.started != was.started || is.restarts != was.restarts):
			return fmt.Errorf("%s: started again", task)
		case len(want) > 0 && is.version == was.version:
			return fmt.Errorf("%s: still has version %d", task, is.version)
		}
	}
	return nil
}

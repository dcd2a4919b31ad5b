package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// fleetSize returns the number of jobs to upgrade: few by default, or POD_TEST_JOBS (make load).
func fleetSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("POD_TEST_JOBS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	must.NoError(t, err)
	return n
}

// TestUpgrade_ManyJobs upgrades many jobs, one of which fails with the new version, and checks that
// the upgrade stops after its batch, continues without it on request, and can be reverted.
func TestUpgrade_ManyJobs(t *testing.T) {
	t.Parallel()
	jobs := fleetSize(t)
	batch := max(jobs/5, 4)
	c := start(t, "runc")
	ctx, cancel := context.WithTimeout(t.Context(), 3*atMost)
	defer cancel()
	c.ctx = ctx
	began := time.Now()
	id := func(n int) string { return fmt.Sprintf("job-%02d", n) }
	broken := id(jobs/2 + 1)
	f := c.serveAt("127.0.0.1:0", "-policy", "testdata/fleet/rules.policy.hcl", "-catalog", "testdata/fleet/old")
	for n := range jobs {
		command := "/bin/sleep"
		if id(n) == broken {
			command = "/bin/false"
		}
		job, err := c.Client().Jobs().ParseHCL(manyJob(t, id(n), command), false)
		must.NoError(t, err)
		_, _, err = f.client.Jobs().Register(job, nil)
		must.NoError(t, err)
	}
	c.awaitManyRunning(jobs)
	t.Logf("%d jobs running after %s", jobs, time.Since(began).Round(time.Second))

	state := filepath.Join(t.TempDir(), "state")
	upgrade := []string{"upgrade", "-state", state, "-yes", "-batch", fmt.Sprint(batch)}
	out := c.nomadSidecar(1, "new", upgrade...)
	must.StrContains(t, out, "default/"+broken+": failed: ")
	through := (jobs/2+1)/batch*batch + batch // the end of the batch with the failing job
	c.upgraded(map[string]int{"1.1.0": through, "1.0.0": jobs - through})
	must.Eq(t, through-1, strings.Count(out, ": healthy\n"))
	t.Logf("stopped after %d jobs and %s", through, time.Since(began).Round(time.Second))

	must.StrContains(t, c.nomadSidecar(1, "new", upgrade...), "default/"+broken+": failed: ")
	c.upgraded(map[string]int{"1.1.0": through, "1.0.0": jobs - through})
	out = c.nomadSidecar(0, "new", append(upgrade, "-skip-failed")...)
	must.Eq(t, jobs-through, strings.Count(out, ": healthy\n"))
	c.upgraded(map[string]int{"1.1.0": jobs})
	t.Logf("upgraded all jobs after %s", time.Since(began).Round(time.Second))

	out = c.nomadSidecar(0, "new", append(upgrade, "-revert")...)
	must.Eq(t, jobs, strings.Count(out, ": reverted\n"))
	c.upgraded(map[string]int{"1.0.0": jobs})
	must.Eq(t, jobs, c.runningPods(2))
	t.Logf("reverted all jobs after %s", time.Since(began).Round(time.Second))
}

// manyJob returns a job whose deployment is healthy as soon as its task runs.
func manyJob(t *testing.T, id, command string) string {
	return testdata(t, "fleet.nomad.hcl", "JOB", id, "COMMAND", command, `min_healthy_time  = "1s"`, `min_healthy_time  = "0s"`,
		`healthy_deadline  = "20s"`, fmt.Sprintf(`healthy_deadline  = "%s"`, maxWait))
}

// awaitManyRunning waits until all jobs run. It fails if their number stops growing for a long
// time.
func (c *cluster) awaitManyRunning(jobs int) {
	c.t.Helper()
	for have := 0; have < jobs; {
		c.eventually(fmt.Sprintf("more than %d of %d jobs running", have, jobs), func() error {
			now := c.runningPods(2)
			if now <= have {
				return fmt.Errorf("%d running", now)
			}
			have = now
			return nil
		})
	}
}

// runningPods counts the allocations with this number of running tasks.
func (c *cluster) runningPods(tasks int) (pods int) {
	c.t.Helper()
	allocs, _, err := c.Client().Allocations().List(nil)
	must.NoError(c.t, err)
	for _, a := range allocs {
		running := 0
		for _, state := range a.TaskStates {
			if a.DesiredStatus == api.AllocDesiredStatusRun && state.State == "running" {
				running++
			}
		}
		if running == tasks {
			pods++
		}
	}
	return pods
}

// upgraded counts the jobs by the version of their sidecar.
func (c *cluster) upgraded(want map[string]int) {
	c.t.Helper()
	all, _, err := c.Client().Jobs().List(&api.QueryOptions{})
	must.NoError(c.t, err)
	have := map[string]int{}
	for _, j := range all {
		have[c.storedSidecar(j.ID)]++
	}
	must.Eq(c.t, want, have)
}

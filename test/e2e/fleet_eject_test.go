package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// TestEject_Fleet checks that eject -fleet prints a plan, removes the sidecars in batches that wait
// for health, leaves the jobs as their authors wrote them, and can be reverted.
func TestEject_Fleet(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	ids := []string{"a", "b", "c", "d"}
	file := func(id string) string { return filepath.Join(dir, id+".nomad.hcl") }
	for _, id := range ids {
		text := testdata(t, "fleet.nomad.hcl", "JOB", id, "COMMAND", "/bin/sleep", `"1s"`, `"0s"`)
		must.NoError(t, os.WriteFile(file(id), []byte(text), 0o600))
		c.nomadSidecar(0, "old", "run", file(id))
	}
	own := testdata(t, "fleet.nomad.hcl", "JOB", "own", "COMMAND", "/bin/sleep")
	c.run(own, "running") // registered without the templater, so it has no sidecar

	out := c.nomadSidecar(1, "old", "eject", "-fleet", "-batch", "2")
	for _, id := range ids {
		must.StrContains(t, out, "default/"+id+"\n  group app: beside 1.0.0 removed\n  remains: group app: beside returns at the next injection, since ")
		must.Eq(t, "1.0.0", c.storedSidecar(id), must.Sprint("version before the plan is confirmed"))
	}
	must.StrNotContains(t, out, "default/own")
	must.StrContains(t, out, "4 jobs to change, in batches of 2\nDry run.")

	out = c.nomadSidecar(0, "old", "eject", "-fleet", "-batch", "2", "-state", state, "-yes")
	checkBatches(t, out, ids, 2)
	for _, id := range ids {
		must.Eq(t, "", c.storedSidecar(id))
		must.Eq(t, map[string]bool{"app/app": true}, c.runningTasks(id))
		code, plan := c.nomadAt(c.Address(), "", "job", "plan", file(id))
		must.Zero(t, code, must.Sprint(plan))
		must.StrNotContains(t, plan, "+/-")
		source, _, err := c.Client().Jobs().Submission(id, c.version(id), nil)
		must.NoError(t, err)
		must.StrContains(t, source.Source, "Its deployment fails")
	}
	must.Eq(t, 0, c.version("own"))

	out = c.nomadSidecar(0, "old", "eject", "-fleet", "-batch", "4", "-state", state, "-yes", "-revert")
	for _, id := range ids {
		must.StrContains(t, out, "default/"+id+": reverted")
		must.Eq(t, "1.0.0", c.storedSidecar(id))
		must.Eq(t, map[string]bool{"app/app": true, "app/beside": true}, c.runningTasks(id))
	}
}

// runningTasks returns the running tasks of a job, as "group/task".
func (c *cluster) runningTasks(job string) map[string]bool {
	c.t.Helper()
	out := map[string]bool{}
	for name := range c.taskRuns(job) {
		out[name] = true
	}
	return out
}

// checkBatches checks that all jobs of a batch are healthy before the next batch is registered.
func checkBatches(t *testing.T, out string, ids []string, size int) {
	t.Helper()
	registered, healthy := 0, 0
	for line := range strings.Lines(out) {
		switch {
		case strings.Contains(line, ": registered as version"):
			must.Eq(t, registered/size*size, healthy, must.Sprintf("healthy before %q: %s", line, out))
			registered++
		case strings.HasSuffix(line, ": healthy\n"):
			healthy++
		}
	}
	must.Eq(t, fmt.Sprint(len(ids), len(ids)), fmt.Sprint(registered, healthy), must.Sprint(out))
}

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/shoenig/test/must"
)

// nomadSidecar runs nomad-sidecar with the agent's address, the test's policy and a catalog below
// testdata/fleet, and checks its exit code.
func (c *cluster) nomadSidecar(want int, catalog string, args ...string) string {
	c.t.Helper()
	args = append(args, "-policy", "testdata/fleet/rules.policy.hcl", "-catalog", "testdata/fleet/"+catalog)
	if catalog != "old" && args[0] != "run" {
		args = append(args, "-catalog", "testdata/fleet/old") // add the catalog of the running sidecars
	}
	cmd := exec.CommandContext(c.ctx, program(c.t, "nomad-sidecar"), args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+c.Address())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		must.NoError(c.t, err)
	}
	must.Eq(c.t, want, cmd.ProcessState.ExitCode(), must.Sprintf("%v: %s", args, &out))
	return out.String()
}

// storedSidecar returns the version of a registered job's sidecar.
func (c *cluster) storedSidecar(id string) (sidecar string) {
	c.t.Helper()
	job, _, err := c.Client().Jobs().Info(id, nil)
	must.NoError(c.t, err)
	for _, t := range job.TaskGroups[0].Tasks {
		if t.Meta["sidecar.name"] != "" {
			sidecar = t.Meta["sidecar.version"]
		}
	}
	return sidecar
}

// version returns the current version of a job.
func (c *cluster) version(job string) int {
	c.t.Helper()
	now, _, err := c.Client().Jobs().Info(job, nil)
	must.NoError(c.t, err)
	return int(*now.Version)
}

// TestFleet checks that an upgrade stops at a job that fails with the new version, continues with a
// fixed version, and can be reverted.
func TestFleet(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	for id, command := range map[string]string{"a": "/bin/sleep", "b": "/bin/false", "c": "/bin/sleep"} {
		file := filepath.Join(dir, id+".nomad.hcl")
		must.NoError(t, os.WriteFile(file, []byte(testdata(t, "fleet.nomad.hcl", "JOB", id, "COMMAND", command)), 0o600))
		c.nomadSidecar(0, "old", "run", file)
	}
	c.run(testdata(t, "fleet.nomad.hcl", "JOB", "d", "COMMAND", "/bin/sleep"), "running")
	out := c.nomadSidecar(1, "old", "status")
	must.StrContains(t, out, "4 jobs, 1 of them differ")
	must.RegexMatch(t, regexp.MustCompile(`default +d +app +beside +- +1\.0\.0 +policy +missing +running`), out)
	must.StrContains(t, c.nomadSidecar(1, "new", "status", "-outdated"), "3 jobs, 3 of them differ")

	upgrade := []string{"upgrade", "-state", state, "-yes"}
	out = c.nomadSidecar(1, "new", upgrade...)
	must.StrContains(t, out, "default/a: healthy")
	must.StrContains(t, out, "default/b: failed: ")
	for id, want := range map[string]string{"a": "1.1.0", "b": "1.1.0", "c": "1.0.0", "d": ""} {
		have := c.storedSidecar(id)
		must.Eq(t, want, have, must.Sprintf("job %s: %s", id, out))
	}
	source, _, err := c.Client().Jobs().Submission("a", 1, nil)
	must.NoError(t, err)
	must.StrContains(t, source.Source, "Its deployment fails")

	out = c.nomadSidecar(1, "new", upgrade...)
	must.StrContains(t, out, "it has not changed since an earlier run")
	out = c.nomadSidecar(0, "fixed", append(upgrade, "-batch", "3")...)
	for _, id := range []string{"a", "b", "c", "d"} {
		must.StrContains(t, out, "default/"+id+": healthy")
	}
	must.StrContains(t, c.nomadSidecar(0, "fixed", "status"), "4 jobs, 0 of them differ")

	out = c.nomadSidecar(0, "fixed", append(upgrade, "-revert", "-batch", "4")...)
	for id, want := range map[string]string{"a": "1.0.0", "b": "1.0.0", "c": "1.0.0", "d": ""} {
		have := c.storedSidecar(id)
		must.Eq(t, want, have, must.Sprintf("job %s: %s", id, out))
		must.StrContains(t, out, "default/"+id+": reverted")
	}
	c.checkPausedDeployment()
}

// checkPausedDeployment pauses the deployment of a job and checks that the job is skipped.
func (c *cluster) checkPausedDeployment() {
	c.t.Helper()
	c.run(testdata(c.t, "fleet.nomad.hcl", "JOB", "e", "COMMAND", "/bin/sleep", `"1s"`, `"4m"`, `"20s"`, `"5m"`), "running")
	deployment, _, err := c.Client().Jobs().LatestDeployment("e", nil)
	must.NoError(c.t, err)
	_, _, err = c.Client().Deployments().Pause(deployment.ID, true, nil)
	must.NoError(c.t, err)
	must.StrContains(c.t, c.nomadSidecar(1, "old", "status", "-missing", "e"), "missing  paused")
	must.StrContains(c.t, c.nomadSidecar(1, "old", "upgrade", "e"), "default/e: skipped: its deployment is paused")
}

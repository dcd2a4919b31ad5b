package e2e

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// singleTask is a job of one task, which sleeps, with additions in HCL.
type singleTask struct{ name, group, task, config, resources, script string }

func (j singleTask) hcl(t *testing.T) string {
	t.Helper()
	if j.resources == "" {
		j.resources = "cpu = 50\nmemory = 32"
	}
	if j.script == "" {
		j.script = "trap 'exit 0' TERM; sleep infinity & wait"
	}
	return testdata(t, "inside.nomad.hcl", "NAME", j.name, "GROUP", j.group, "TASK", j.task,
		"CONFIG", j.config, "RESOURCES", j.resources, "SCRIPT", j.script)
}

// runSingleTask runs the job, and returns when its task is running.
func (c *cluster) runSingleTask(j singleTask) *api.Allocation {
	c.t.Helper()
	return c.run(j.hcl(c.t), api.AllocClientStatusRunning)
}

// expectOutput runs a script in the job's task and checks the lines it prints.
func (c *cluster) expectOutput(alloc *api.Allocation, script string, lines ...string) {
	c.t.Helper()
	out := c.exec(alloc, "inside", "/bin/sh", "-c", script)
	must.Eq(c.t, lines, strings.Split(strings.TrimSpace(out), "\n"), must.Sprint(script))
}

// sub runs a subtest on the same agent.
func (c *cluster) sub(name string, test func(c *cluster)) {
	c.t.Run(name, func(t *testing.T) { test(&cluster{c.Agent, t, c.ctx}) })
}

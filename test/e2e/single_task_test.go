package e2e

import (
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// inside is a job of one task that waits, with additions in HCL.
type inside struct{ name, group, task, config, resources, script string }

func (j inside) hcl(t *testing.T) string {
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

// runInside runs such a job, and returns when its task runs.
func (c *cluster) runInside(j inside) *api.Allocation {
	c.t.Helper()
	return c.run(j.hcl(c.t), api.AllocClientStatusRunning)
}

// see runs a script in the task of such a job and wants it to print lines.
func (c *cluster) see(alloc *api.Allocation, script string, lines ...string) {
	c.t.Helper()
	out := c.exec(alloc, "inside", "/bin/sh", "-c", script)
	must.Eq(c.t, lines, strings.Split(strings.TrimSpace(out), "\n"), must.Sprint(script))
}

// sub runs a part of a test that shares the agent with the others.
func (c *cluster) sub(name string, test func(c *cluster)) {
	c.t.Run(name, func(t *testing.T) { test(&cluster{c.Agent, t, c.ctx}) })
}

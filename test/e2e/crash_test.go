package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestCrash_TasksSurvive checks that tasks survive the death of the plugin and of the agent without
// losing a line of output.
func TestCrash_TasksSurvive(t *testing.T) {
	crashes := []struct {
		name  string
		crash func(c *cluster)
	}{
		// The orderly restart comes first: it makes Nomad save the state of the allocations'
		// networks, which Nomad otherwise saves once a minute (stateSnapshotIntv in its
		// client/client.go). After a crash before the first save, Nomad itself loses all
		// allocations in bridge mode.
		{"orderly restart", func(c *cluster) {
			must.NoError(c.t, c.Shutdown(c.ctx))
			must.NoError(c.t, c.Launch(c.ctx))
		}},
		{"plugin", func(c *cluster) { must.NoError(c.t, c.KillPlugin()) }},
		{"agent", func(c *cluster) {
			must.NoError(c.t, c.Kill(c.ctx))
			must.NoError(c.t, c.Launch(c.ctx))
		}},
		{"log collector", func(c *cluster) { must.NoError(c.t, c.KillCollector()) }},
		{"log collector and plugin", func(c *cluster) {
			must.NoError(c.t, c.KillPlugin())
			must.NoError(c.t, c.KillCollector())
		}},
		{"agent and plugin", func(c *cluster) {
			must.NoError(c.t, c.Kill(c.ctx))
			must.NoError(c.t, c.KillPlugin())
			must.NoError(c.t, c.Launch(c.ctx))
		}},
	}
	onOwnAgent(t, matrix.Both(), func(c *cluster) {
		web := c.runInjected()
		counter := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
		before := c.identities(web, "app", "tls-proxy", "topz")
		count := c.identities(counter, "counter")
		c.checkOneCollector()

		for _, crash := range crashes {
			c.t.Run(crash.name, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				crash.crash(c)
				c.awaitPlugin()
				for _, alloc := range []*api.Allocation{web, counter} {
					c.eventually("the allocation runs", func() error { return checkUnchanged(c, alloc.ID) })
				}
				must.Eq(t, before, c.identities(web, "app", "tls-proxy", "topz"))
				must.Eq(t, count, c.identities(counter, "counter"))
				c.checkLogGrows(counter)
				// The driver has recovered them if it can run a command in them.
				c.eventually("the driver has recovered the task", func() error {
					_, err := c.Exec(c.ctx, web, "app", "true")
					return err
				})
				c.fetch("https", port(t, web, "https"), "/")
				c.checkOneCollector()
			})
		}
	})
}

// TestPlugin_OutlivesClient checks that a plugin survives the death of its client, which read the
// plugin's log, and works with the next client.
func TestPlugin_OutlivesClient(t *testing.T) {
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
		before, err := c.PluginPIDs()
		must.NoError(c.t, err)
		must.Len(c.t, 1, before)
		must.NoError(c.t, c.Kill(c.ctx))
		must.NoError(c.t, c.Launch(c.ctx))
		alloc := c.run(testdata(t, "once.nomad.hcl", "NAME", "once", "COMMAND", "/bin/true", "ARGS", "", "SHARE", ""), api.AllocClientStatusComplete)
		must.StrNotContains(c.t, agent.Events(alloc), "shutdown")
		after, err := c.PluginPIDs()
		must.NoError(c.t, err)
		must.Eq(c.t, before, after)
	})
}

// checkOneCollector checks that one process collects the output of all tasks, and no process of
// Nomad.
func (c *cluster) checkOneCollector() {
	c.t.Helper()
	c.eventually("the log collector runs", func() error {
		pids, err := c.CollectorPIDs()
		if err == nil && len(pids) != 1 {
			err = fmt.Errorf("%d log collectors", len(pids))
		}
		return err
	})
	logmon, err := c.LogmonPIDs()
	must.NoError(c.t, err)
	must.SliceEmpty(c.t, logmon, must.Sprint("log collectors of Nomad"))
}

// awaitPlugin waits until Nomad has started a plugin.
func (c *cluster) awaitPlugin() {
	c.t.Helper()
	c.eventually("the plugin runs", func() error {
		pids, err := c.PluginPIDs()
		if err == nil && len(pids) == 0 {
			err = errors.New("no plugin process")
		}
		return err
	})
}

func checkUnchanged(c *cluster, id string) error {
	alloc, err := c.Alloc(id)
	if err != nil {
		return err
	}
	if alloc.ClientStatus != api.AllocClientStatusRunning {
		return fmt.Errorf("status is %s", alloc.ClientStatus)
	}
	for name, state := range alloc.TaskStates {
		if state.State != "running" || state.Restarts != 0 {
			return fmt.Errorf("task %s is %s after %d restarts", name, state.State, state.Restarts)
		}
	}
	return nil
}

// checkLogGrows waits for new lines and checks that all lines are numbered from 1 without a gap or
// repetition.
func (c *cluster) checkLogGrows(alloc *api.Allocation) {
	c.t.Helper()
	before, err := c.Logs(c.ctx, alloc, "counter", "stdout")
	must.NoError(c.t, err)
	var text string
	c.eventually("the log grows", func() (err error) {
		if text, err = c.Logs(c.ctx, alloc, "counter", "stdout"); err == nil && len(text) < len(before)+50 {
			err = fmt.Errorf("log has %d bytes, had %d", len(text), len(before))
		}
		return err
	})
	// The last line may be incomplete.
	text = text[:strings.LastIndexByte(text, '\n')]
	for i, line := range strings.Split(text, "\n") {
		must.Eq(c.t, fmt.Sprint(i+1), line, must.Sprintf("line %d", i+1))
	}
}

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestLive_HungServerRestarts checks that a hanging server is restarted although the plugin is
// killed during a check, and that a slowly stopping server is not.
func TestLive_HungServerRestarts(t *testing.T) {
	onOwnAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.run(testdata(c.t, "live.nomad.hcl"), api.AllocClientStatusRunning)
		shared := func(name string) string { return filepath.Join(c.SharedDir(alloc.ID), name) }
		must.NoError(c.t, os.WriteFile(shared("hang"), nil, 0o644))
		c.eventually("a check of the hung server", func() error {
			_, err := os.Stat(shared("asked"))
			return err
		})
		must.NoError(c.t, c.KillPlugin())
		must.NoError(c.t, c.WaitTask(c.ctx, alloc.ID, "server", func(s *api.TaskState) error {
			if s.Restarts == 0 || s.State != "running" {
				return errors.New("not restarted")
			}
			return nil
		}))
		alloc, err := c.Alloc(alloc.ID)
		must.NoError(c.t, err)
		for _, e := range alloc.TaskStates["server"].Events {
			c.t.Log(e.Time/1e6, e.Type, e.DisplayMessage)
		}
		must.StrContains(c.t, agent.Events(alloc), "Liveness check failed 2 times in a row: http http://127.0.0.1:8080/: timed out after 1s")
		must.StrContains(c.t, agent.Events(alloc), "Task restarting in")

		failures := strings.Count(agent.Events(alloc), "Driver: Liveness check failed")
		c.stop("live", alloc)
		alloc, err = c.Alloc(alloc.ID)
		must.NoError(c.t, err)
		code := -1
		for _, e := range alloc.TaskStates["server"].Events {
			if e.Type == api.TaskTerminated {
				code = e.ExitCode
			}
		}
		must.Eq(c.t, 7, code, must.Sprint(agent.Events(alloc)))
		must.LessEq(c.t, failures, strings.Count(agent.Events(alloc), "Driver: Liveness check failed"))
	})
}

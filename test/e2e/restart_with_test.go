package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestRestartWith checks that an app restarts with its proxy, in order, when the proxy crashes or
// is restarted, and that restarts and stops of both by Nomad cause no additional restart.
func TestRestartWith(t *testing.T) {
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.run(testdata(c.t, "restart-with.nomad.hcl"), api.AllocClientStatusRunning)
		file := filepath.Join(c.SharedDir(alloc.ID), "data", "order")
		order := func(when string, either ...string) {
			c.t.Helper()
			c.eventually(when, func() error {
				b, err := os.ReadFile(file)
				if got := strings.ReplaceAll(string(b), "\n", ", "); err == nil && !slices.Contains(either, got) {
					err = fmt.Errorf("order is %q, want one of %q", got, either)
				}
				return err
			})
			must.NoError(c.t, os.Truncate(file, 0))
		}
		restarted := func(name string, times uint64) *api.TaskState {
			c.t.Helper()
			c.waitTask(alloc.ID, name, func(s *api.TaskState) error {
				if s.State != "running" || s.Restarts != times {
					return fmt.Errorf("state %s after %d restarts", s.State, s.Restarts)
				}
				return nil
			})
			now, err := c.Alloc(alloc.ID)
			must.NoError(c.t, err)
			c.t.Logf("%s after %d restarts:\n%s", name, times, eventsOf(now.TaskStates[name]))
			return now.TaskStates[name]
		}
		order("both are started", "start proxy, start app, ")
		restarted("app", 0)

		must.NoError(c.t, os.WriteFile(filepath.Join(c.SharedDir(alloc.ID), "crash"), nil, 0o644))
		// Nomad starts the proxy again while the app stops.
		order("the app restarts with a crashed proxy", "stop app, start proxy, start app, ", "start proxy, stop app, start app, ")
		must.StrContains(c.t, eventsOf(restarted("app", 1)), `Stopped because task "proxy", which restart_with names, ended`)

		restarted("proxy", 1)
		must.NoError(c.t, c.Client().Allocations().Restart(alloc, "proxy", nil))
		order("the app restarts with a restarted proxy", "stop app, stop proxy, start proxy, start app, ")
		must.StrContains(c.t, eventsOf(restarted("app", 2)), `which restart_with names, is stopped`)

		restarted("proxy", 2)
		must.NoError(c.t, c.Client().Allocations().Restart(alloc, "", nil))
		order("both are restarted", "stop app, stop proxy, start proxy, start app, ")
		state := restarted("app", 3)
		must.StrContains(c.t, eventsOf(state), api.TaskRestartSignal)

		c.stop("fate", alloc)
		order("both are stopped", "stop app, stop proxy, ")
		alloc, err := c.Alloc(alloc.ID)
		must.NoError(c.t, err)
		must.Eq(c.t, 3, alloc.TaskStates["app"].Restarts, must.Sprint(agent.Events(alloc)))
	})
}

// eventsOf lists a task's events with their times in ms.
func eventsOf(s *api.TaskState) string {
	var out strings.Builder
	for _, e := range s.Events {
		fmt.Fprintln(&out, e.Time/1e6, e.Type, e.DisplayMessage)
	}
	return out.String()
}

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// waitForJob returns the injected job that waits for addresses.
func waitForJob(t *testing.T, timeout string, targets ...string) string {
	t.Helper()
	program(t, "wait-for")
	quoted := fmt.Sprintf("%q", targets)
	return injectText(t, testdata(t, "wait-for.nomad.hcl",
		"TARGETS", strings.ReplaceAll(strings.Trim(quoted, "[]"), `" "`, `", "`), "TIMEOUT", timeout))
}

// TestWaitFor checks that the application starts when its server listens, and not earlier.
func TestWaitFor(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		alloc, err := c.RunJob(c.ctx, waitForJob(t, "5m", "tcp://127.0.0.1:8080", "http://127.0.0.1:8080/", "dns://localhost", "file:///alloc/open"))
		must.NoError(c.t, err)
		text := c.waitLog(alloc, "wait-for", "stderr", "missing: ")
		text += c.waitLog(alloc, "wait-for", "stderr", "answers target=dns://localhost")
		must.StrContains(c.t, text, `target=tcp://127.0.0.1:8080 why="refused: `)
		c.waitTask(alloc.ID, "server", func(s *api.TaskState) error {
			if s.State != "running" {
				return fmt.Errorf("status is %s", s.State)
			}
			return nil
		})
		alloc, err = c.Alloc(alloc.ID)
		must.NoError(c.t, err)
		must.Eq(c.t, "pending", alloc.TaskStates["app"].State)
		c.exec(alloc, "server", "touch", "/alloc/open")

		alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
		c.waitTask(alloc.ID, "app", func(s *api.TaskState) error {
			if s.State != "running" {
				return fmt.Errorf("status is %s", s.State)
			}
			return nil
		})
		alloc, err = c.Alloc(alloc.ID)
		must.NoError(c.t, err)
		nanoseconds, err := strconv.ParseInt(strings.TrimSpace(c.exec(alloc, "server", "cat", "/alloc/opened")), 10, 64)
		must.NoError(c.t, err)
		opened, waited, started := time.Unix(0, nanoseconds), times(alloc, api.TaskTerminated)["wait-for"], times(alloc, api.TaskStarted)["app"]
		must.True(c.t, opened.Before(waited), must.Sprint(opened, waited))
		must.True(c.t, waited.Before(started), must.Sprint(waited, started))
		must.False(c.t, alloc.TaskStates["wait-for"].Failed)
		c.waitLog(alloc, "wait-for", "stderr", `msg="all answer" targets=4`)
	})
}

// TestWaitFor_GivesUp checks that the allocation fails after the timeout, and that the log
// distinguishes an unknown name from a closed port.
func TestWaitFor_GivesUp(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		alloc := c.run(waitForJob(t, "2s", "tcp://127.0.0.1:9", "tcp://nowhere.invalid:80", "file:///alloc"), api.AllocClientStatusFailed)
		text := c.waitLog(alloc, "wait-for", "stderr", "gave up after 2s, no answer from 2 of 3: ")
		must.StrContains(c.t, text, "tcp://127.0.0.1:9: refused: dial tcp 127.0.0.1:9: connect: connection refused")
		must.StrContains(c.t, text, "tcp://nowhere.invalid:80: unresolved: ")
		must.StrNotContains(c.t, text, "panic")
		must.MapNotContainsKey(c.t, times(alloc, api.TaskStarted), "app")
		must.True(c.t, alloc.TaskStates["wait-for"].Failed, must.Sprint(agent.Events(alloc)))
	})
}

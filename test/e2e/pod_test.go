package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestGroup_Order checks the order in which tasks become ready and end, by the allocation's events.
func TestGroup_Order(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		job, err := os.ReadFile(filepath.Join("..", "..", "jobs", "examples", "ordered.nomad.hcl"))
		must.NoError(c.t, err)
		alloc := c.run(string(job), api.AllocClientStatusRunning)
		order := []string{"config", "proxy", "app"}
		for _, task := range order {
			c.waitTask(alloc.ID, task, func(s *api.TaskState) error {
				if s.State != "running" {
					return fmt.Errorf("task is %s", s.State)
				}
				return nil
			})
		}
		alloc, err = c.Alloc(alloc.ID)
		must.NoError(c.t, err)
		started := times(alloc, api.TaskStarted)
		must.True(c.t, started["config"].Before(started["proxy"]), must.Sprint(started))
		must.True(c.t, started["proxy"].Before(started["app"]), must.Sprint(started))
		must.StrContains(c.t, messages(alloc, "proxy"), "Waiting for config (after)")
		must.StrContains(c.t, messages(alloc, "proxy"), "Ready after")

		_, _, err = c.Client().Jobs().Deregister("ordered", false, nil)
		must.NoError(c.t, err)
		alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
		ended := times(alloc, api.TaskTerminated)
		must.True(c.t, ended["app"].Before(ended["proxy"]), must.Sprint(ended))
		must.True(c.t, ended["proxy"].Before(ended["config"]), must.Sprint(ended))
	})
}

// times returns when each task had its first event of a type.
func times(alloc *api.Allocation, event string) map[string]time.Time {
	out := map[string]time.Time{}
	for name, state := range alloc.TaskStates {
		for _, e := range state.Events {
			if _, seen := out[name]; e.Type == event && !seen {
				out[name] = time.Unix(0, e.Time)
			}
		}
	}
	return out
}

func messages(alloc *api.Allocation, task string) string {
	var all []string
	for _, e := range alloc.TaskStates[task].Events {
		all = append(all, e.DisplayMessage)
	}
	return strings.Join(all, "\n")
}

// TestNetwork_SharedWithOtherDrivers checks that a group may also contain tasks of other drivers.
func TestNetwork_SharedWithOtherDrivers(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		script := `exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 && sleep 600`
		nodes, _, err := c.Client().Nodes().List(nil)
		must.NoError(c.t, err)
		others := []string{"raw_exec", "exec"}
		if info := nodes[0].Drivers["exec"]; info == nil || !info.Healthy {
			c.t.Log("skip the exec driver: this Nomad was built without cgo")
			others = others[:1]
		}
		alloc := c.run(testdata(c.t, "mixed.nomad.hcl", "SCRIPT", script, "DRIVERS", `"`+strings.Join(others, `", "`)+`"`),
			api.AllocClientStatusRunning)
		for _, task := range others {
			c.waitLog(alloc, task, "stdout", "200 OK")
		}
	})
}

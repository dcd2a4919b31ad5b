package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// scrape maps series, as "name{labels}", to their values.
type scrape map[string]float64

func (c *cluster) scrape(port int) scrape {
	c.t.Helper()
	out := scrape{}
	for line := range strings.Lines(c.fetch("http", port, "/metrics")) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		must.NoError(c.t, err)
		out[series+"}"] = number
	}
	return out
}

// cpu returns the CPU time of a task in seconds.
func (s scrape) cpu(task string) float64 {
	return s[`pod_task_cpu_seconds_total{mode="user",task="`+task+`"}`] + s[`pod_task_cpu_seconds_total{mode="system",task="`+task+`"}`]
}

func (s scrape) of(metric, task string) float64 { return s[metric+`{task="`+task+`"}`] }

// TestMetrics checks the metrics of each task, read through the host's port.
func TestMetrics(t *testing.T) {
	program(t, "metrics")
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		alloc, err := c.RunJob(c.ctx, inject(c.t, "testdata/metrics.nomad.hcl"))
		must.NoError(c.t, err)
		alloc, err = c.WaitRunning(c.ctx, alloc.ID)
		must.NoError(c.t, err)
		at := port(c.t, alloc, "metrics")
		var before scrape
		c.eventually("every task has metrics", func() error {
			before = c.scrape(at)
			for _, task := range []string{"busy", "idle", "metrics"} {
				if before.of("pod_task_processes", task) == 0 || before.of("pod_task_memory_resident_bytes", task) == 0 {
					return fmt.Errorf("no series of %s in %v", task, before)
				}
			}
			return nil
		})
		must.Eq(c.t, 1, before[fmt.Sprintf(`pod_info{group="web",job="metrics",namespace=%q}`, c.Namespace())])
		must.Positive(c.t, before.of("pod_task_open_fds", "idle"))
		must.Positive(c.t, before.of("pod_task_start_time_seconds", "idle"))

		c.exec(alloc, "busy", "touch", "/alloc/burn")
		var after scrape
		c.eventually("the busy task's metrics increase", func() error {
			after = c.scrape(at)
			used, taken := after.cpu("busy")-before.cpu("busy"), after.of("pod_task_memory_anonymous_bytes", "busy")-before.of("pod_task_memory_anonymous_bytes", "busy")
			if used < 0.5 || taken < 15e6 {
				return fmt.Errorf("used %v s and %v bytes", used, taken)
			}
			return nil
		})
		must.LessEq(c.t, 0.05, after.cpu("idle")-before.cpu("idle"), must.Sprint("CPU time of the idle task"))
		must.Eq(c.t, before.of("pod_task_memory_anonymous_bytes", "idle"), after.of("pod_task_memory_anonymous_bytes", "idle"))
		for _, direction := range []string{"receive", "transmit"} { // traffic of the scrapes
			series := "pod_network_" + direction + `_bytes_total{device="eth0"}`
			must.Greater(c.t, before[series], after[series], must.Sprint(series))
		}
		services, _, err := c.Client().Services().Get("web-metrics", nil)
		must.NoError(c.t, err)
		must.SliceLen(c.t, 1, services)
		must.Eq(c.t, at, services[0].Port)

		checkRestartCounted(c, alloc, after)
	})
}

func checkRestartCounted(c *cluster, alloc *api.Allocation, before scrape) {
	must.Eq(c.t, 0, before.of("pod_task_restarts_total", "busy"))
	must.NoError(c.t, c.Client().Allocations().Restart(alloc, "busy", nil))
	c.eventually("the restart is counted", func() error {
		s := c.scrape(port(c.t, alloc, "metrics"))
		if s.of("pod_task_restarts_total", "busy") != 1 || s.of("pod_task_processes", "busy") == 0 {
			return fmt.Errorf("%v", s)
		}
		must.GreaterEq(c.t, before.cpu("busy"), s.cpu("busy"), must.Sprint("counter must not decrease"))
		must.Eq(c.t, 0, s.of("pod_task_restarts_total", "idle"))
		return nil
	})
}

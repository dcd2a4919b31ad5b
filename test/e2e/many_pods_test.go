package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// density returns the number of pods and how long to hold them: few and briefly by default, or as
// set by POD_TEST_PODS and POD_TEST_HOLD, such as "500" and "10m". With POD_TEST_LIVE=tcp, a task of
// each pod has such a liveness check.
func density(t *testing.T) (pods int, hold time.Duration) {
	t.Helper()
	pods, hold = 10, 0
	var err error
	if text := os.Getenv("POD_TEST_PODS"); text != "" {
		pods, err = strconv.Atoi(text)
		must.NoError(t, err)
	}
	if text := os.Getenv("POD_TEST_HOLD"); text != "" {
		hold, err = time.ParseDuration(text)
		must.NoError(t, err)
	}
	return pods, hold
}

// TestManyPods checks that many pods of two tasks cost little, and that the cost does not grow
// while they are idle or after they are removed.
func TestManyPods(t *testing.T) {
	pods, hold := density(t)
	const tasks = 2
	exclusively(t, matrix.One(), func(c *cluster) {
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Minute+hold)
		defer cancel()
		c.ctx = ctx
		began := time.Now()
		content := idleTasks(tasks)
		if check := os.Getenv("POD_TEST_LIVE"); check != "" {
			content = idleTasks(tasks-1) + checkedTask(c.t, check)
		}
		c.start(testdata(c.t, "pods.nomad.hcl", "COUNT", fmt.Sprint(pods), "TASKS", content))
		c.awaitAllRunning("pods", pods)
		c.t.Logf("%d pods of %d tasks run after %s", pods, tasks, time.Since(began).Round(time.Second/10))
		c.awaitAllStats("pods", pods, tasks)

		first := c.measure()
		c.t.Log(first)
		for last := first; time.Since(first.at) < hold; {
			select {
			case <-time.After(min(hold, time.Minute)): // duration of a measurement
			case <-ctx.Done():
				must.NoError(c.t, ctx.Err())
			}
			now := c.measure()
			c.t.Logf("%s, %.1f %% of a processor", now, 100*(now.cpuSeconds-last.cpuSeconds)/now.at.Sub(last.at).Seconds())
			last = now
		}
		last := c.measure()
		must.Eq(c.t, pods*tasks, last.monitors, must.Sprint("monitors, one per task"))
		const slack = 16
		must.Less(c.t, first.descriptors+slack, last.descriptors)
		if pods >= 50 { // with fewer pods, the shared processes dominate
			must.Less(c.t, 2<<20, last.bytes/uint64(pods*tasks), must.Sprint("bytes per task without the workload"))
		}

		began = time.Now()
		_, _, err := c.Client().Jobs().Deregister("pods", false, nil)
		must.NoError(c.t, err)
		c.awaitAllEnded("pods", pods)
		c.t.Logf("stopped within %s", time.Since(began).Round(time.Second/10))
		must.Eq(c.t, 0, c.measure().monitors)
	})
}

// checkedTask returns a network of the group and a server that answers liveness checks of one kind,
// which POD_TEST_LIVE names.
func checkedTask(t *testing.T, kind string) string {
	t.Helper()
	check, known := map[string]string{
		"exec": `exec = ["/bin/true"]`,
		"file": `file = "/bin/true"`,
		"http": `http = "http://127.0.0.1:8080/"`,
		"tcp":  `tcp = "127.0.0.1:8080"`,
	}[kind]
	must.True(t, known, must.Sprintf("POD_TEST_LIVE=%s: use exec, file, http or tcp", kind))
	return fmt.Sprintf(`
    network {
      mode = "bridge"
    }

    task "checked" {
      driver = "pod"

      config {
        command = "%s/webapp"

        live {
          %s
        }
      }

      logs {
        max_files     = 1
        max_file_size = 1
      }

      resources {
        cpu    = 1
        memory = 20
      }
    }
`, podBin, check)
}

func idleTasks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `
    task "idle%d" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sleep"
        args    = ["100000"]
      }

      # Nomad reserves disk for all that they may hold.
      logs {
        max_files     = 1
        max_file_size = 1
      }

      resources {
        cpu    = 1
        memory = 10
      }
    }
`, i)
	}
	return b.String()
}

// resourceUse is the driver's resource usage in addition to the workload.
type resourceUse struct {
	at          time.Time
	monitors    int
	bytes       uint64 // PSS
	descriptors int    // of the plugin and the log collector
	threads     int    // of the plugin and the log collector
	cpuSeconds  float64
}

func (u resourceUse) String() string {
	return fmt.Sprintf("%d monitors, %.1f MiB with plugin and log collector, which have %d descriptors and %d threads",
		u.monitors, float64(u.bytes)/(1<<20), u.descriptors, u.threads)
}

// measure measures the plugin, the log collector and the monitors.
func (c *cluster) measure() resourceUse {
	c.t.Helper()
	u := resourceUse{at: time.Now()}
	plugins, err := c.PluginPIDs()
	must.NoError(c.t, err)
	collectors, err := c.CollectorPIDs()
	must.NoError(c.t, err)
	standing := slices.Concat(plugins, collectors)
	all, err := procfs.AllProcs()
	must.NoError(c.t, err)
	for _, p := range all {
		comm, err := p.Comm()
		switch {
		case err != nil: // the process has exited
			continue
		case comm == "conmon":
			u.monitors++
		case !slices.Contains(standing, p.PID):
			continue
		default:
			n, err := p.FileDescriptorsLen()
			must.NoError(c.t, err)
			u.descriptors += n
		}
		if m, err := p.ProcSMapsRollup(); err == nil {
			u.bytes += m.Pss
		}
		stat, err := p.Stat()
		if err != nil {
			continue
		}
		u.cpuSeconds += stat.CPUTime()
		if comm != "conmon" {
			u.threads += stat.NumThreads
		}
	}
	return u
}

// allRun waits until all tasks of a job run.
func (c *cluster) awaitAllRunning(job string, n int) {
	c.t.Helper()
	c.progress(job, n, func(a *api.AllocationListStub) bool { return a.ClientStatus == api.AllocClientStatusRunning })
	for _, a := range c.allocs(job, n) {
		for name, state := range a.TaskStates {
			must.Eq(c.t, 0, state.Restarts, must.Sprint(name))
		}
	}
}

// awaitAllStats waits until Nomad has statistics of all tasks, so that everything needed for
// statistics is open.
func (c *cluster) awaitAllStats(job string, n, tasks int) {
	c.t.Helper()
	for _, a := range c.allocs(job, n) {
		c.eventually("statistics of all tasks of "+a.ID, func() error {
			use, err := c.Client().Allocations().Stats(&api.Allocation{ID: a.ID, NodeID: a.NodeID}, nil)
			if err != nil {
				return err
			}
			if len(use.Tasks) < tasks {
				return fmt.Errorf("statistics of %d tasks", len(use.Tasks))
			}
			return nil
		})
	}
}

// awaitAllEnded waits until all allocations of a job have ended.
func (c *cluster) awaitAllEnded(job string, n int) {
	c.t.Helper()
	c.progress(job, n, ended)
}

// progress waits until n allocations of a job meet a condition. It fails if their number stops
// growing for a long time.
func (c *cluster) progress(job string, n int, of func(*api.AllocationListStub) bool) {
	c.t.Helper()
	for have := 0; have < n; {
		c.eventually(fmt.Sprintf("more than %d of %d allocations meet the condition", have, n), func() error {
			allocs, _, err := c.Client().Jobs().Allocations(job, false, nil)
			if err != nil {
				return err
			}
			if now := count(allocs, of); now > have {
				have = now
				return nil
			}
			return fmt.Errorf("%d allocations", have)
		})
	}
}

package e2e

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// Trap D7 (nomad#28272): from its first instruction a task without reserved cores never runs on a
// reserved core, and a task with cores only on its own; both follow changes of reservations.
func TestReservedCores(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two processors: one to reserve and one to share")
	}
	exclusively(t, matrix.Both(), func(c *cluster) {
		run := func(name, resources string) *api.Allocation {
			c.t.Helper()
			return c.run(testdata(c.t, "cores.nomad.hcl", "NAME", name, "RESOURCES", resources), api.AllocClientStatusRunning)
		}
		first := func(alloc *api.Allocation) string {
			c.t.Helper()
			return strings.TrimSpace(c.waitLog(alloc, "cores", "stdout", "\n"))
		}
		earlier := run("earlier", "cpu = 50")
		all := cpuList(c.t, first(earlier))

		reserving := run("reserving", "cores = 1")
		core, err := strconv.Atoi(first(reserving))
		must.NoError(c.t, err, must.Sprint("parse the task's core"))
		left := slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n == core })
		later := run("later", "cpu = 50")
		must.Eq(c.t, left, cpuList(c.t, first(later)))
		for _, alloc := range []*api.Allocation{earlier, later} {
			must.Eq(c.t, left, c.taskCPUs(alloc))
		}

		_, _, err = c.Client().Jobs().Deregister("reserving", false, nil)
		must.NoError(c.t, err)
		c.waitAlloc(reserving.ID, api.AllocClientStatusComplete)
		for _, alloc := range []*api.Allocation{earlier, later} {
			c.eventually("the core is free for all", func() error {
				if now := c.taskCPUs(alloc); !slices.Equal(all, now) {
					return fmt.Errorf("CPUs are %v", now)
				}
				return nil
			})
		}
	})
}

// taskCPUs returns the CPUs that the first process of a task may use, and checks that a command
// in the task has the same.
func (c *cluster) taskCPUs(alloc *api.Allocation) []int {
	c.t.Helper()
	status, err := procfs.NewProc(c.first(alloc, "cores").PID)
	must.NoError(c.t, err)
	now, err := status.NewStatus()
	must.NoError(c.t, err)
	cpus := []int{}
	for _, n := range now.CpusAllowedList {
		cpus = append(cpus, int(n))
	}
	inside := c.exec(alloc, "cores", "awk", "/Cpus_allowed_list/ { print $2 }", "/proc/self/status")
	must.Eq(c.t, cpus, cpuList(c.t, strings.TrimSpace(inside)))
	return cpus
}

// cpuList reads a list such as "0-2,7".
func cpuList(t *testing.T, text string) (all []int) {
	t.Helper()
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.Atoi(low)
		must.NoError(t, err)
		last, err := strconv.Atoi(high)
		must.NoError(t, err)
		for n := first; n <= last; n++ {
			all = append(all, n)
		}
	}
	return all
}

// TestResources_SeenFromInside compares the cgroup of a task, seen from inside, with the job's
// request.
func TestResources_SeenFromInside(t *testing.T) {
	version, err := cgroup.Detect()
	must.NoError(t, err)
	// pick returns the value for the cgroup version.
	pick := func(v1, v2 string) string {
		if version == cgroup.V2 {
			return "cat /sys/fs/cgroup/" + v2
		}
		return "cat /sys/fs/cgroup/" + v1
	}
	unlimited, shares := "9223372036854771712", "300"
	if version == cgroup.V2 {
		unlimited, shares = "max", "12" // 1 + (300-2)*9999/262142
	}
	limit, low := pick("memory/memory.limit_in_bytes", "memory.max"), pick("memory/memory.soft_limit_in_bytes", "memory.low")
	swap := pick("memory/memory.memsw.limit_in_bytes", "memory.swap.max")
	weight := pick("cpu/cpu.shares", "cpu.weight")
	const mib = 1 << 20
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		c.oversubscribe()
		for _, test := range []struct {
			name, resources string
			seen            [][2]string
		}{
			{"hard", "cpu = 300\nmemory = 40", [][2]string{{limit, fmt.Sprint(40 * mib)}, {weight, shares},
				{"echo $NOMAD_CPU_LIMIT $NOMAD_MEMORY_LIMIT", "300 40"}}},
			{"most", "cpu = 300\nmemory = 40\nmemory_max = 80", [][2]string{{limit, fmt.Sprint(80 * mib)}, {low, fmt.Sprint(40 * mib)},
				{"echo $NOMAD_MEMORY_LIMIT $NOMAD_MEMORY_MAX_LIMIT", "40 80"}}},
			{"unlimited", "cpu = 300\nmemory = 40\nmemory_max = -1", [][2]string{{limit, unlimited}, {low, fmt.Sprint(40 * mib)}}},
		} {
			c.sub(test.name, func(c *cluster) {
				alloc := c.runSingleTask(singleTask{name: test.name, resources: test.resources})
				for _, look := range test.seen {
					c.expectOutput(alloc, look[0], look[1])
				}
				if test.name == "hard" && version != cgroup.V2 {
					c.expectOutput(alloc, swap, fmt.Sprint(40*mib)) // v1 counts memory and swap together: no swap
				}
			})
		}
	})
}

// oversubscribe enables memory oversubscription.
func (c *cluster) oversubscribe() {
	c.t.Helper()
	now, _, err := c.Client().Operator().SchedulerGetConfiguration(nil)
	must.NoError(c.t, err)
	now.SchedulerConfig.MemoryOversubscriptionEnabled = true
	_, _, err = c.Client().Operator().SchedulerSetConfiguration(now.SchedulerConfig, nil)
	must.NoError(c.t, err)
}

package driver_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// setClock moves the clock of this machine by a duration.
func setClock(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
	must.NoError(t, unix.Settimeofday(&now))
}

// TestTask_ClockJumps checks that a clock that jumps by days in either direction has no effect: a
// running task stays the same process and can be measured, entered and recovered, and other tasks
// start, become ready and end with their exit codes.
func TestTask_ClockJumps(t *testing.T) {
	if os.Getenv("POD_TEST_OWN_CLOCK") == "" {
		t.Skip("needs a machine whose clock may be set: run make test-cgroup2")
	}
	const day = 24 * time.Hour
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := collecting(t, runtime)
		old := n.newTask("", "old", sh("trap 'exit 6' TERM; while :; do sleep 0.01; done"), withoutCollector)
		handle := old.start()
		before, err := n.InspectTask(old.ID)
		must.NoError(t, err)
		off := time.Duration(0)
		t.Cleanup(func() { setClock(t, -off) })
		for i, by := range []time.Duration{day, -3 * day, 3 * day} {
			usage, err := n.TaskStats(t.Context(), old.ID, 100*time.Millisecond)
			must.NoError(t, err)
			must.NotNil(t, <-usage)
			setClock(t, by)
			off += by
			must.NotNil(t, <-usage)
			must.NotNil(t, <-usage)
			must.Eq(t, "ok\n", old.exec("echo ok"))

			young := n.newTask("", fmt.Sprint("young", i), ready(sh("echo line; touch /tmp/up; until [ -e /alloc/go ]; do sleep 0.01; done; exit 5"),
				driver.ReadyConfig{File: "/tmp/up"}), withoutCollector)
			young.start()
			must.NoError(t, os.WriteFile(young.TaskDir().SharedAllocDir+"/go", nil, 0o644))
			must.Eq(t, drivers.ExitResult{ExitCode: 5}, *young.wait())
			must.Eq(t, "line\n", young.logged("stdout"))
			must.NoError(t, n.DestroyTask(young.ID, false))

			n.abandon()
			n.start()
			must.NoError(t, n.RecoverTask(handle))
			after, err := n.InspectTask(old.ID)
			must.NoError(t, err)
			must.Eq(t, before.DriverAttributes["pid"], after.DriverAttributes["pid"])
			must.Eq(t, drivers.TaskStateRunning, after.State)
		}
		must.NoError(t, n.StopTask(old.ID, maxWait, "SIGTERM"))
		must.Eq(t, drivers.ExitResult{ExitCode: 6}, *old.wait())
	})
}

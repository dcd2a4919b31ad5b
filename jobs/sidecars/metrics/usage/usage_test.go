package usage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
)

// pod is a made-up /proc and what looks at it.
type pod struct {
	t     *testing.T
	dir   string
	meter *Meter
}

func newPod(t *testing.T, procs ...procstest.Process) *pod {
	t.Helper()
	dir := procstest.Dir(t, procs...)
	meter, err := New(dir, procstest.AllocID)
	must.NoError(t, err)
	return &pod{t, dir, meter}
}

func (p *pod) set(procs ...procstest.Process) {
	p.t.Helper()
	for _, proc := range procs {
		proc.WriteTo(p.t, p.dir)
	}
}

func (p *pod) end(pids ...int) {
	p.t.Helper()
	for _, pid := range pids {
		must.NoError(p.t, os.RemoveAll(filepath.Join(p.dir, strconv.Itoa(pid))))
	}
}

func (p *pod) read() map[string]Task {
	p.t.Helper()
	all, err := p.meter.Read()
	must.NoError(p.t, err)
	out := map[string]Task{}
	for _, t := range all {
		out[t.Name] = t
	}
	return out
}

func app(pid int) procstest.Process {
	return procstest.Process{PID: pid, Comm: "app", Cgroup: procstest.Scope("app"), Threads: 1, Start: uint64(pid * 100)}
}

func TestReadAddsUpByTask(t *testing.T) {
	p := newPod(t,
		procstest.Process{PID: 1, Comm: "catatonit", Cgroup: "0::/../../pod\n", Threads: 1},
		procstest.Process{PID: 20, Comm: "app", Cgroup: procstest.Scope("app"), Threads: 9, UTime: 300, STime: 100, Start: 2000, RSSPages: 40, AnonymousKB: 100, SwapKB: 8, FDs: 5},
		procstest.Process{PID: 21, PPID: 20, Comm: "worker", Cgroup: procstest.Scope("app"), Threads: 2, UTime: 50, Start: 2100, RSSPages: 3, AnonymousKB: 4, FDs: 2},
		procstest.Process{PID: 30, Comm: "proxy", Cgroup: procstest.Scope("proxy"), Threads: 1, STime: 7, Start: 3000, FDs: -1},
		procstest.Process{PID: 31, PPID: 30, Comm: "worker", Cgroup: procstest.Scope("proxy"), Threads: 1, Start: 3001, FDs: 4},
		procstest.Process{PID: 40, PPID: 1, Comm: "orphan", Cgroup: "0::/\n", Threads: 1, UTime: 1},
	)
	// Files of another user's process: not missing, but not to be read.
	unreadable(t, filepath.Join(p.dir, "30", "fd"))
	got := p.read()
	must.MapLen(t, 4, got)
	must.Eq(t, Task{
		Name: "app", User: 3500 * time.Millisecond, System: time.Second, Processes: 2, Threads: 11,
		ResidentBytes: uint64(43 * os.Getpagesize()), AnonymousBytes: 104 << 10, SwapBytes: 8 << 10, OpenFDs: 7,
		Started: time.Unix(procstest.BootSeconds+20, 0),
	}, got["app"])
	must.Eq(t, -1, got["proxy"].OpenFDs, must.Sprint("half a sum is none"))
	must.Eq(t, 70*time.Millisecond, got["proxy"].System)
	must.Eq(t, 1, got["(pod)"].Processes)
	must.True(t, got["(pod)"].Started.IsZero(), must.Sprint("it is no task"))
	must.Eq(t, 10*time.Millisecond, got[Other].User)
}

// unreadable puts something in a directory's place that cannot be listed, not
// even by root.
func unreadable(t *testing.T, dir string) {
	t.Helper()
	procstest.Write(t, dir, "")
}

func TestCPUTimeNeverFalls(t *testing.T) {
	parent, child := app(20), app(21)
	parent.UTime, child.PPID, child.UTime, child.STime = 100, 20, 40, 10
	p := newPod(t, parent, child)
	must.Eq(t, 1400*time.Millisecond, p.read()["app"].User)

	// The child used 10 more and another, never seen, 25; both were waited for.
	p.end(21)
	parent.UTime, parent.ChildUTime, parent.ChildSTime = 101, 75, 10
	p.set(parent)
	got := p.read()["app"]
	must.Eq(t, 1760*time.Millisecond, got.User)
	must.Eq(t, 100*time.Millisecond, got.System)

	// One that nobody of the task waits for is not counted back.
	orphan := app(22)
	orphan.UTime = 50
	p.set(orphan)
	must.Eq(t, 2260*time.Millisecond, p.read()["app"].User)
	p.end(22)
	parent.UTime += 3
	p.set(parent)
	must.Eq(t, 2290*time.Millisecond, p.read()["app"].User)

	// Neither are all of them, and a later start goes on from there.
	p.end(20)
	got = p.read()["app"]
	must.Eq(t, 2290*time.Millisecond, got.User)
	must.Eq(t, 0, got.Processes)
	again := app(50)
	again.UTime = 5
	p.set(again)
	must.Eq(t, 2340*time.Millisecond, p.read()["app"].User)
}

func TestRestartsAreSeen(t *testing.T) {
	p := newPod(t, app(20), app(21))
	must.Eq(t, 0, p.read()["app"].Restarts)
	p.end(21)
	p.set(app(25))
	must.Eq(t, 0, p.read()["app"].Restarts, must.Sprint("its first process lives"))

	p.end(20, 25)
	must.Eq(t, 0, p.read()["app"].Restarts, must.Sprint("it may have ended for good"))
	p.set(app(30))
	got := p.read()["app"]
	must.Eq(t, 1, got.Restarts)
	must.Eq(t, time.Unix(procstest.BootSeconds+30, 0), got.Started)

	reused := app(30)
	reused.Start = 9999
	p.set(reused)
	must.Eq(t, 2, p.read()["app"].Restarts, must.Sprint("another process with its PID"))
}

func TestTasksAreBounded(t *testing.T) {
	var procs []procstest.Process
	for i := range 2 * maxTasks {
		procs = append(procs, procstest.Process{
			PID: 10 + i, Comm: "liar", Threads: 1, Environ: procstest.Environ(procstest.AllocID, fmt.Sprint("task-", i)),
		})
	}
	got := newPod(t, procs...).read()
	must.MapLen(t, maxTasks+1, got)
	must.Eq(t, maxTasks, got[Other].Processes)
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := New(filepath.Join(t.TempDir(), "none"), "")
	must.ErrorContains(t, err, "open the proc file system")
	_, err = New(t.TempDir(), "")
	must.ErrorContains(t, err, "read the boot time")
}

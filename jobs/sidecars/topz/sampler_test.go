package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
)

func byPID(s Snapshot) map[int]Process {
	out := map[int]Process{}
	for _, p := range s.Processes {
		out[p.PID] = p
	}
	return out
}

func TestSampleReadsEveryField(t *testing.T) {
	snapshot, err := podSampler(t, procstest.Dir(t, podProcs()...), 100*time.Second).sample()
	must.NoError(t, err)
	must.Eq(t, time.Unix(bootSeconds+100, 0).UTC(), snapshot.SampledAt)

	procs := byPID(snapshot)
	must.MapLen(t, 5, procs)
	must.Eq(t, Process{
		PID: 20, Task: "app", User: "web", State: "S", Threads: 9,
		CPUPercent: 5, // 4 s in the 80 s since its start
		CPUSeconds: 4, MemoryBytes: uint64(4000 * os.Getpagesize()),
		StartedAt: time.Unix(bootSeconds+20, 0).UTC(),
		Name:      "webapp", Command: "/opt/bin/webapp -listen 127.0.0.1:8080",
	}, procs[20])
	must.Eq(t, "a) Z 1 (b", procs[21].Name)
	must.Eq(t, "R", procs[21].State)
	must.Eq(t, 20, procs[21].PPID)
	must.Eq(t, "77777", procs[21].User, must.Sprint("a user without a name"))
	must.Eq(t, "(pod)", procs[1].Task)
	must.Eq(t, "topz", procs[30].Task, must.Sprint("by its environment"))
	must.Eq(t, "topz", procs[31].Task, must.Sprint("by its parent"))
	must.Eq(t, "[kthread]", procs[31].Command)
}

func TestCPUPercentIsSinceThePreviousSample(t *testing.T) {
	procs := podProcs()
	dir := procstest.Dir(t, procs...)
	s := podSampler(t, dir, 100*time.Second)
	_, err := s.sample()
	must.NoError(t, err)

	procs[1].UTime += 150 // 1.5 s within 2 s
	procs[1].WriteTo(t, dir)
	reused := procstest.Process{PID: 21, Comm: "new", UID: 1000, Start: 10100, UTime: 25, Threads: 1}
	reused.WriteTo(t, dir) // another process under a PID seen before, 1 s old
	must.NoError(t, os.RemoveAll(filepath.Join(dir, "31")))
	s.now = func() time.Time { return time.Unix(bootSeconds+102, 0) }
	snapshot, err := s.sample()
	must.NoError(t, err)

	got := byPID(snapshot)
	must.Eq(t, 75.0, got[20].CPUPercent)
	must.Eq(t, 25.0, got[21].CPUPercent)
	must.Eq(t, 0.0, got[30].CPUPercent)
	must.MapNotContainsKey(t, got, 31)
}

func TestSampleSkipsWhatVanishesButNotWhatIsBroken(t *testing.T) {
	dir := procstest.Dir(t, podProcs()...)
	must.NoError(t, os.Mkdir(filepath.Join(dir, "50"), 0o755)) // listed, then gone
	s := podSampler(t, dir, 100*time.Second)
	snapshot, err := s.sample()
	must.NoError(t, err)
	must.SliceLen(t, 5, snapshot.Processes)

	procstest.Write(t, filepath.Join(dir, "50", "stat"), "50 (half")
	_, err = s.sample()
	must.ErrorContains(t, err, "read process 50")
}

func TestStartTimeOfALongLivedMachine(t *testing.T) {
	const tenYears = 10 * 365 * 24 * 3600
	dir := procstest.Dir(t, procstest.Process{PID: 5, Comm: "old", Start: tenYears * podprocs.TicksPerSecond})
	snapshot, err := podSampler(t, dir, (tenYears+60)*time.Second).sample()
	must.NoError(t, err)
	must.Eq(t, time.Unix(bootSeconds+tenYears, 0).UTC(), snapshot.Processes[0].StartedAt)
}

func TestNewSamplerNamesWhatIsMissing(t *testing.T) {
	_, err := newSampler(filepath.Join(t.TempDir(), "none"), "/etc/passwd", Pod{})
	must.ErrorContains(t, err, "open the proc file system")

	_, err = newSampler(t.TempDir(), "/etc/passwd", Pod{})
	must.ErrorContains(t, err, "read the boot time")

	_, err = newSampler(procstest.Dir(t), filepath.Join(t.TempDir(), "none"), Pod{})
	must.NoError(t, err, must.Sprint("an image without passwd"))
}

func TestCommandLine(t *testing.T) {
	must.Eq(t, `/bin/sh "><script>alert('owned')</script> \x1b[2J \u202etxt.exe broken\xff`, commandLine(hostile, "sh"))
	must.Eq(t, "größe ok", commandLine([]string{"größe", "ok"}, "x"))
	must.Eq(t, "[sh\\n]", commandLine(nil, "sh\n"))
	must.Eq(t, "[sh]", commandLine([]string{"", ""}, "sh"))

	long := commandLine([]string{strings.Repeat("é", maxCommandBytes)}, "x")
	must.Eq(t, strings.Repeat("é", maxCommandBytes/2)+"…", long)
	odd := commandLine([]string{"x" + strings.Repeat("é", maxCommandBytes)}, "x")
	must.Eq(t, "x"+strings.Repeat("é", maxCommandBytes/2-1)+"…", odd, must.Sprint("never half a character"))
}

package main

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
)

const (
	allocID     = procstest.AllocID
	bootSeconds = procstest.BootSeconds
)

// hostile is a command line that tries HTML, an attribute, a terminal escape
// and reordered text.
var hostile = []string{"/bin/sh", `"><script>alert('owned')</script>`, "\x1b[2J", "\u202etxt.exe", "broken\xff"}

// podProcs is a pod of two tasks at 100 s after boot.
func podProcs() []procstest.Process {
	return []procstest.Process{
		{PID: 1, Comm: "catatonit", Args: []string{"catatonit", "-P"}, Cgroup: "0::/../../pod\n", Threads: 1, RSSPages: 160, Start: 1000},
		{PID: 20, Comm: "webapp", Args: []string{"/opt/bin/webapp", "-listen", "127.0.0.1:8080"}, UID: 1000, Cgroup: procstest.Scope("app"), Threads: 9, UTime: 300, STime: 100, Start: 2000, RSSPages: 4000},
		{PID: 21, PPID: 20, Comm: "a) Z 1 (b", Args: hostile, UID: 77777, Cgroup: procstest.Scope("app"), Threads: 2, UTime: 50, Start: 9000, RSSPages: 300, State: "R"},
		{PID: 30, Comm: "topz", Args: []string{"topz"}, Cgroup: "0::/\n", Environ: procstest.Environ(allocID, "topz"), Threads: 7, UTime: 10, Start: 3000, RSSPages: 2500},
		{PID: 31, PPID: 30, Comm: "kthread", Cgroup: "0::/\n", Threads: 1, Start: 3000, State: "Z"},
	}
}

func podSampler(t *testing.T, dir string, at time.Duration) *sampler {
	t.Helper()
	passwd := filepath.Join(t.TempDir(), "passwd")
	procstest.Write(t, passwd, "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\nweb-alias:x:1000:1000::/:/bin/sh\n")
	s, err := newSampler(dir, passwd, Pod{AllocID: allocID, Job: "web", Group: "front", Task: "topz", Namespace: "default", Hostname: "pod-1"})
	must.NoError(t, err)
	s.now = func() time.Time { return time.Unix(bootSeconds, 0).Add(at) }
	return s
}

// podMonitor shows podProcs as sampled once.
func podMonitor(t *testing.T) *monitor {
	t.Helper()
	m, err := newMonitor(podSampler(t, procstest.Dir(t, podProcs()...), 100*time.Second), 2*time.Second, quiet())
	must.NoError(t, err)
	return m
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

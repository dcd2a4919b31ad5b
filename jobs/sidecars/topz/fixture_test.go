package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// bootSeconds is when the machine of the fixtures was booted.
const bootSeconds = 1_700_000_000

// fakeProc is one process of a made-up /proc. Times are in ticks.
type fakeProc struct {
	pid, ppid    int
	comm         string
	args         []string
	uid          int
	state        string
	threads      int
	utime, stime uint64
	start        uint64
	rssPages     int
	cgroup       string
	environ      []string
}

// procDir is a made-up /proc below a temporary directory.
func procDir(t *testing.T, procs ...fakeProc) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stat"), fmt.Sprintf("cpu  1 2 3 4 5 6 7 8 9 10\nbtime %d\n", bootSeconds))
	for _, p := range procs {
		p.writeTo(t, dir)
	}
	return dir
}

func (p fakeProc) writeTo(t *testing.T, dir string) {
	t.Helper()
	own := filepath.Join(dir, strconv.Itoa(p.pid))
	must.NoError(t, os.MkdirAll(own, 0o755))
	if p.state == "" {
		p.state = "S"
	}
	// The fields are those of proc(5), from 1 (pid) to 44.
	write(t, filepath.Join(own, "stat"), fmt.Sprintf(
		"%d (%s) %s %d 1 1 0 -1 0 0 0 0 0 %d %d 0 0 20 0 %d 0 %d 1000 %d 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n",
		p.pid, p.comm, p.state, p.ppid, p.utime, p.stime, p.threads, p.start, p.rssPages))
	write(t, filepath.Join(own, "status"), fmt.Sprintf("Name:\t%s\nUid:\t%d\t%d\t%d\t%d\n", p.comm, 4242, p.uid, p.uid, p.uid))
	write(t, filepath.Join(own, "cmdline"), terminated(p.args))
	write(t, filepath.Join(own, "cgroup"), p.cgroup)
	if p.environ != nil { // else it is missing, as good as unreadable
		write(t, filepath.Join(own, "environ"), terminated(p.environ))
	}
}

func terminated(list []string) string {
	var b strings.Builder
	for _, s := range list {
		b.WriteString(s + "\x00")
	}
	return b.String()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// hostile is a command line that tries HTML, an attribute, a terminal escape
// and reordered text.
var hostile = []string{"/bin/sh", `"><script>alert('owned')</script>`, "\x1b[2J", "\u202etxt.exe", "broken\xff"}

// podProcs is a pod of two tasks at 100 s after boot.
func podProcs() []fakeProc {
	scope := func(task string) string { return "0::/../" + allocID + "." + task + ".scope\n" }
	return []fakeProc{
		{pid: 1, comm: "catatonit", args: []string{"catatonit", "-P"}, cgroup: "0::/../../pod\n", threads: 1, rssPages: 160, start: 1000},
		{pid: 20, comm: "webapp", args: []string{"/opt/bin/webapp", "-listen", "127.0.0.1:8080"}, uid: 1000, cgroup: scope("app"), threads: 9, utime: 300, stime: 100, start: 2000, rssPages: 4000},
		{pid: 21, ppid: 20, comm: "a) Z 1 (b", args: hostile, uid: 77777, cgroup: scope("app"), threads: 2, utime: 50, start: 9000, rssPages: 300, state: "R"},
		{pid: 30, comm: "topz", args: []string{"topz"}, cgroup: "0::/\n", environ: taskEnviron(allocID, "topz"), threads: 7, utime: 10, start: 3000, rssPages: 2500},
		{pid: 31, ppid: 30, comm: "kthread", cgroup: "0::/\n", threads: 1, start: 3000, state: "Z"},
	}
}

func podSampler(t *testing.T, dir string, at time.Duration) *sampler {
	t.Helper()
	passwd := filepath.Join(t.TempDir(), "passwd")
	write(t, passwd, "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\nweb-alias:x:1000:1000::/:/bin/sh\n")
	s, err := newSampler(dir, passwd, Pod{AllocID: allocID, Job: "web", Group: "front", Task: "topz", Namespace: "default", Hostname: "pod-1"})
	must.NoError(t, err)
	s.now = func() time.Time { return time.Unix(bootSeconds, 0).Add(at) }
	return s
}

// podMonitor shows podProcs as sampled once.
func podMonitor(t *testing.T) *monitor {
	t.Helper()
	m, err := newMonitor(podSampler(t, procDir(t, podProcs()...), 100*time.Second), 2*time.Second, quiet())
	must.NoError(t, err)
	return m
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Package procstest writes a fake /proc for tests. It contains only the files that
// the sidecars read.
package procstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const (
	// BootSeconds is the boot time in seconds since the epoch.
	BootSeconds = 1_700_000_000

	// AllocID is the id of the pod's allocation.
	AllocID = "0d5fa7c1-26a1-4d3c-9a55-1f4a4b7a9c01"
)

// Process is one process. Times are in ticks of 10 ms.
type Process struct {
	PID, PPID    int
	Comm         string
	Args         []string
	UID          int
	State        string // "" is S
	Threads      int
	UTime, STime uint64
	// ChildUTime and ChildSTime are the times of children that were waited for.
	ChildUTime, ChildSTime uint64
	Start                  uint64
	RSSPages               int
	// AnonymousKB and SwapKB are RssAnon and VmSwap of /proc/<pid>/status.
	AnonymousKB, SwapKB int
	Cgroup              string
	Environ             []string // nil: unreadable
	FDs                 int      // -1: unreadable
}

// Scope returns the content of /proc/<pid>/cgroup for a process of a task.
func Scope(task string) string { return "0::/../" + AllocID + "." + task + ".scope\n" }

// Environ returns the variables that Nomad sets for a task's processes.
func Environ(alloc, task string) []string {
	return []string{"PATH=/bin", "NOMAD_TASK_NAME=" + task, "NOMAD_ALLOC_ID=" + alloc}
}

// Dir writes a /proc to a temporary directory.
func Dir(t *testing.T, procs ...Process) string {
	t.Helper()
	dir := t.TempDir()
	Write(t, filepath.Join(dir, "stat"), fmt.Sprintf("cpu  1 2 3 4 5 6 7 8 9 10\nbtime %d\n", BootSeconds))
	for _, p := range procs {
		p.WriteTo(t, dir)
	}
	return dir
}

// WriteTo writes the process to a /proc and replaces one with the same PID.
func (p Process) WriteTo(t *testing.T, dir string) {
	t.Helper()
	own := filepath.Join(dir, strconv.Itoa(p.PID))
	must.NoError(t, os.MkdirAll(own, 0o755))
	if p.State == "" {
		p.State = "S"
	}
	// The fields are documented in proc(5), from 1 (pid) to 44.
	Write(t, filepath.Join(own, "stat"), fmt.Sprintf(
		"%d (%s) %s %d 1 1 0 -1 0 0 0 0 0 %d %d %d %d 20 0 %d 0 %d 1000 %d 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n",
		p.PID, p.Comm, p.State, p.PPID, p.UTime, p.STime, p.ChildUTime, p.ChildSTime, p.Threads, p.Start, p.RSSPages))
	Write(t, filepath.Join(own, "status"), fmt.Sprintf("Name:\t%s\nUid:\t%d\t%d\t%d\t%d\nRssAnon:\t%d kB\nVmSwap:\t%d kB\n",
		p.Comm, 4242, p.UID, p.UID, p.UID, p.AnonymousKB, p.SwapKB))
	Write(t, filepath.Join(own, "cmdline"), terminated(p.Args))
	Write(t, filepath.Join(own, "cgroup"), p.Cgroup)
	if p.Environ != nil { // otherwise the file is missing, which readers treat as unreadable
		Write(t, filepath.Join(own, "environ"), terminated(p.Environ))
	}
	must.NoError(t, os.RemoveAll(filepath.Join(own, "fd")))
	if p.FDs >= 0 {
		must.NoError(t, os.Mkdir(filepath.Join(own, "fd"), 0o755))
	}
	for fd := range p.FDs {
		Write(t, filepath.Join(own, "fd", strconv.Itoa(fd)), "")
	}
}

func terminated(list []string) string {
	var b strings.Builder
	for _, s := range list {
		b.WriteString(s + "\x00")
	}
	return b.String()
}

// Write writes a file of the fake /proc.
func Write(t *testing.T, path, content string) {
	t.Helper()
	must.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

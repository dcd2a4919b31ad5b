// Package freeze stops processes of tests by a signal. It does not continue them.
package freeze

import (
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// Process stops a process and waits until all its threads are stopped: one that runs on another
// processor may still answer a request after the signal was sent.
func Process(t *testing.T, pid int) {
	t.Helper()
	must.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	deadline := time.Now().Add(testtimeout.Scale(10 * time.Second))
	for !stopped(t, pid) {
		must.True(t, time.Now().Before(deadline), must.Sprintf("process %d does not stop", pid))
		time.Sleep(time.Millisecond)
	}
}

func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := procfs.AllThreads(pid)
	must.NoError(t, err)
	for _, thread := range threads {
		// A thread that has exited meanwhile is not running either.
		if stat, err := thread.Stat(); err == nil && stat.State != "T" && stat.State != "Z" {
			return false
		}
	}
	return true
}

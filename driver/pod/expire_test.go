package pod

import (
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// TestExpire_TimerFiredBefore covers two timers of one pod: the first fires while a task enters, so
// that stopping it is too late.
func TestExpire_TimerFiredBefore(t *testing.T) {
	dir := t.TempDir()
	m := New(Config{RunDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"), Cgroups: cgroup.V1})
	p := m.enter("a0b1c2d3-0000-4000-8000-000000000001")
	m.mu.Lock()
	p.tasks = 0
	m.mu.Unlock()
	m.expire(p)
	m.expire(p)
	must.NoError(t, m.Close())
}

package pod

import (
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// TestExpire_TimerFiredBefore covers two timers of one pod: the first fires while a task joins,
// so that it is too late to stop it.
func TestExpire_TimerFiredBefore(t *testing.T) {
	dir := t.TempDir()
	m := New(Config{RunDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"), Cgroups: cgroup.V1})
	p := m.enter("a0b1c2d3-0000-4000-8000-000000000001")
	m.mu.Lock()
	p.tasks = 0
	m.mu.Unlock()
	p.mu.Lock() // removing the pod waits
	var timers sync.WaitGroup
	first := make(chan struct{})
	timers.Go(func() { close(first); m.expire(p) })
	<-first
	timers.Go(func() { m.expire(p) })
	for deadline := time.Now().Add(5 * time.Second); !expiring(m, p) && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	p.mu.Unlock()
	timers.Wait()
	must.NoError(t, m.Close())
}

func expiring(m *Manager, p *pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return p.gone != nil
}

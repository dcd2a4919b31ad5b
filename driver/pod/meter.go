package pod

import (
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// Meter samples a task's resource usage. It is not safe for concurrent use.
type Meter struct {
	c     *Container
	group *cgroup.Meter
	part  part // of a sandbox
}

// Meter returns a new meter that the caller must close.
func (c *Container) Meter() *Meter { return &Meter{c: c, group: c.accounts().Meter()} }

// Stats reads the task's current usage. After the task has ended the error wraps
// fs.ErrNotExist or ENODEV.
func (m *Meter) Stats() (cgroup.Stats, error) {
	s, err := m.group.Stats()
	if err == nil && m.c.state.Gvisor {
		s = m.part.of(s, m.c.pod.running())
	}
	if err == nil {
		m.c.noteOOM(s.OOMKills, time.Now())
	}
	return s, err
}

// Close closes the meter's open files.
func (m *Meter) Close() { m.group.Close() }

package pod

import (
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// Meter reads what a task uses, time and again, for one goroutine.
type Meter struct {
	c     *Container
	group *cgroup.Meter
}

// Meter returns a new one, which the caller closes.
func (c *Container) Meter() *Meter { return &Meter{c: c, group: c.cgroup().Meter()} }

// Stats reads what the task uses now. After the end the error says that there
// is no such group.
func (m *Meter) Stats() (cgroup.Stats, error) {
	s, err := m.group.Stats()
	if err == nil {
		m.c.noteOOM(s.OOMKills, time.Now())
	}
	return s, err
}

// Close lets go of what the meter keeps open.
func (m *Meter) Close() { m.group.Close() }

package pod

import (
	"context"
	"fmt"
)

// waitKeys returns the names of the keys that make a task wait for others.
func (s *sibling) waitKeys() (keys []string) {
	if len(s.after) > 0 {
		keys = append(keys, "after")
	}
	if len(s.restartWith) > 0 {
		keys = append(keys, "restart_with")
	}
	return keys
}

// pair records the tasks that s starts beside. All of them are ready.
func (o *order) pair(s *sibling) {
	s.partners = map[string]string{}
	for _, name := range s.restartWith {
		s.partners[name] = o.find(name).c.state.TaskID
	}
}

// lostPartner returns a task in restartWith that has ended since s was started beside it,
// and how, or "". The task may have been recovered or started again meanwhile.
func (o *order) lostPartner(s *sibling) (name, how string) {
	if !s.ready || s.stopping || s.ended {
		return "", ""
	}
	for _, name := range s.restartWith {
		other := o.find(name)
		switch {
		case other == nil: // not recovered yet, or removed after its end was noticed
		case other.c.state.TaskID != s.partners[name]:
			return name, "was restarted"
		case other.ended:
			return name, "ended"
		}
	}
	return "", ""
}

// leave has the driver stop the task of s, unless Nomad does so within stopNotice. The caller
// holds orderMu.
func (s *sibling) leave(name, how string) {
	s.stopping = true
	c := s.c
	c.m.background.Go(func() {
		ctx, cancel := c.m.context()
		defer cancel()
		ctx, cancel = context.WithTimeout(ctx, stopNotice)
		defer cancel()
		select {
		case <-ctx.Done():
		case <-c.done:
		}
		if !c.m.closes() {
			c.m.cfg.Observer.PartnerLost()
			c.endItself(fmt.Sprintf("Stopped because task %q, which restart_with names, %s", name, how))
		}
	})
}

// closes reports whether Close was called.
func (m *Manager) closes() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

package analyze

import (
	"fmt"
	"slices"
	"time"
)

// defaultKill is Nomad's default kill_timeout (api.Task.Canonicalize).
const defaultKill = 5 * time.Second

// maxKill is the default max_kill_timeout of clients.
const maxKill = 30 * time.Second

// lifecycle checks how the tasks of the group start and stop.
func (c *checker) lifecycle(w *workload) {
	c.drain(w)
	c.canary(w)
	for _, t := range c.group.Tasks {
		if t.isProxy() {
			continue
		}
		if t.Sidecar.V && !t.Restart && !c.group.RestartMode.Unknown() && c.group.RestartMode.V != "delay" && !c.group.restartMayVary() {
			c.report("NS1020", t, t.Range, t.Name, c.group.Name)
		}
		if t.Kill.V > maxKill {
			c.report("NS1024", t, t.Kill.Range, t.Name, c.group.Name, t.Kill.V)
		}
		ends := t.Hook.Known && (t.Hook.V == "prestart" || t.Hook.V == "poststart") && !t.Sidecar.V && !t.Sidecar.Unknown()
		if t.Leader.V && ends {
			c.report("NS1025", t, t.Leader.Range, t.Name, c.group.Name)
		}
		if t.isPod() {
			c.preStop(t)
			c.dependents(t)
		}
	}
}

// restartMayVary reports whether an unknown dynamic block may make the group's restart block.
func (g *group) restartMayVary() bool { return g.Node.More["restart"] != nil }

// drain finds services that clients still use while their tasks stop.
func (c *checker) drain(w *workload) {
	if c.group.Partial || !w.serves() {
		return
	}
	told := map[*task]bool{}
	for _, s := range c.group.Services {
		if t := s.owner; !told[t] && !c.group.drains(t) {
			told[t] = true
			subject := quoted("Group", c.group.Name)
			if t != nil {
				subject = fmt.Sprintf("Task %q of group %q", t.Name, c.group.Name)
			}
			c.report("NS1023", t, s.Range, subject)
		}
	}
}

// drains reports whether time may pass between the deregistration of services and the stop of the
// program that serves them. Services of the group, for which t is nil, are deregistered before all
// delays, a task's services only before its own (Nomad's client/allocrunner:
// group_service_hook.go, taskrunner/task_runner.go).
func (g *group) drains(t *task) bool {
	delayed := func(v value[time.Duration]) bool { return v.Unknown() || v.V > 0 }
	if t != nil {
		return delayed(t.Delay) || !t.stays()
	}
	return delayed(g.Delay) || slices.ContainsFunc(g.Tasks, func(t *task) bool { return !t.isProxy() && delayed(t.Delay) })
}

// stays reports whether a task is known to run until the allocation stops.
func (t *task) stays() bool {
	return t.phased() && (t.Hook.V == "" || t.Sidecar.V)
}

// phased reports whether it is known when a task runs.
func (t *task) phased() bool { return !t.Hook.Unknown() && !t.Sidecar.Unknown() }

// together reports whether two tasks are known to run at the same time: prestart tasks that are no sidecars
// end before the main tasks start, and poststop tasks start after all others have ended.
func together(a, b *task) bool {
	if !a.phased() || !b.phased() {
		return false
	}
	if a.Hook.V == b.Hook.V {
		return true
	}
	apart := func(t *task) bool { return t.Hook.V == "poststop" || t.Hook.V == "prestart" && !t.Sidecar.V }
	return !apart(a) && !apart(b)
}

// canary finds static ports in groups that are updated with canaries.
func (c *checker) canary(w *workload) {
	canaries := c.group.Canary
	if !canaries.Set {
		canaries = w.Canary
	}
	if canaries.V == 0 || w.Type.Or("service") != "service" {
		return
	}
	for _, p := range c.group.groupPorts() {
		if p.Static.V > 0 {
			c.report("NS1026", nil, p.Range, c.group.Name, p.Label)
			return
		}
	}
}

// kill returns the time that a task has to stop; ok is false if it is unknown.
func (t *task) kill() (timeout time.Duration, ok bool) {
	if t.Kill.V == 0 && !t.Kill.Unknown() {
		return defaultKill, true
	}
	return t.Kill.V, t.Kill.Known
}

// preStop compares pre_stop with the time that the driver gives it.
func (c *checker) preStop(t *task) {
	block := t.Config.block("pre_stop")
	kill, known := t.kill()
	if block == nil || !known {
		return
	}
	timeout := setting(block, "timeout", toDuration)
	needs := timeout.Or(5 * time.Second)
	if timeout.Unknown() || needs <= kill/2 {
		return
	}
	at := t.Range
	if block.node != nil {
		at = block.node.Range
	}
	c.report("NS1021", t, at, t.Name, c.group.Name, needs, kill/2)
}

// dependents compares the kill timeouts of tasks that end one after the other.
func (c *checker) dependents(t *task) {
	theirs, known := t.kill()
	if !known {
		return
	}
	for _, name := range t.After {
		o := c.group.byName[name]
		if o == nil || o == t || !o.isPod() || !o.stays() || !t.stays() {
			continue // of tasks that have ended before, there is no order at the stop
		}
		if kill, known := o.kill(); known && theirs > kill/2 {
			c.report("NS1022", o, o.Range, o.Name, c.group.Name, t.Name, kill/2, t.Name, theirs)
		}
	}
}

package pod

import "time"

// oomGrace is how long the first process of a task may take to exit after an OOM
// kill.
const oomGrace = time.Second

// noteOOM records the number of OOM kills in the task's cgroup. If the first
// process outlives a kill, another process was killed: noteOOM sends an event, and
// the kill does not count when the task ends later for another reason.
func (c *Container) noteOOM(kills uint64, now time.Time) {
	if _, ended := c.Exit(); ended || !c.teardown.TryLock() {
		return // Exit or removal handles the state
	}
	defer c.teardown.Unlock()
	c.oom.Lock()
	defer c.oom.Unlock()
	switch {
	case c.gone || kills <= c.state.OOMKills:
		return
	case kills != c.oom.kills:
		c.oom.kills, c.oom.seen = kills, now
		return
	case now.Sub(c.oom.seen) < oomGrace:
		return
	}
	c.stateMu.Lock()
	c.state.OOMKills = kills
	err := c.writeState()
	c.stateMu.Unlock()
	if err != nil {
		c.m.cfg.Log.Error("record OOM kill", "task_id", c.state.TaskID, "error", err)
	}
	c.event("Out of memory: the kernel killed a process of the task; the task continues")
}

// oomKilled reports whether there is a kill that noteOOM has not reported. It must
// have hit the first process, which has ended.
func (c *Container) oomKilled(kills uint64) bool {
	c.oom.Lock()
	defer c.oom.Unlock()
	return kills > c.state.OOMKills
}

package pod

import "time"

// oomGrace is how long the first process of a task may take to end when the
// kernel killed it for its memory.
const oomGrace = time.Second

// noteOOM is told how many processes of the task the kernel has killed for
// their memory. Where the first process outlives such a kill, it was another
// one's: that is told in an event, and does not count when the task is killed
// by somebody else later.
func (c *Container) noteOOM(kills uint64, now time.Time) {
	if _, ended := c.Exit(); ended || !c.teardown.TryLock() {
		return // whoever reads or removes the state is about to
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
	c.state.OOMKills = kills
	if err := writeState(c.stateFile(), c.state); err != nil {
		c.m.cfg.Log.Error("note that a process was out of memory", "task_id", c.state.TaskID, "error", err)
	}
	c.event("Out of memory: the kernel killed a process of the task, which goes on")
}

// oomKilled tells whether one of the kills was not told of yet. If the first
// process, which has ended, was killed, that was it.
func (c *Container) oomKilled(kills uint64) bool {
	c.oom.Lock()
	defer c.oom.Unlock()
	return kills > c.state.OOMKills
}

package pod

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// Kill configures how the driver stops a task on its own account. Nomad passes the task's
// kill_signal and kill_timeout only when it stops the task itself.
type Kill struct {
	Signal  unix.Signal   `json:"signal,omitempty"` // 0: the image's STOPSIGNAL, or SIGTERM
	Timeout time.Duration `json:"timeout"`
}

// endRetry is how long endItself waits before it kills a task again that it failed to kill. It is
// Nomad's time for StopTask.
const endRetry = 5 * time.Second

// endItself stops the task for a reason of the driver's own, in the way that Nomad would. The task
// ends with the reason as its error, so that Nomad counts it as failed. The reason is on
// disk before anything else is done: the next manager continues. endItself returns when the task
// has ended or the manager closes, or immediately if the task is already being stopped.
func (c *Container) endItself(reason string) {
	reason = bounds.Text(reason)
	if c.claimEnd(reason) {
		c.event(reason)
		c.finishEnd()
	}
}

// finishEnd stops the task after a successful claimEnd, possibly of an earlier manager.
func (c *Container) finishEnd() {
	ctx, cancel := c.m.context()
	defer cancel()
	for err := c.stop(ctx, c.state.Kill.Signal, c.state.Kill.Timeout); err != nil && ctx.Err() == nil; err = c.Kill(ctx) {
		c.m.cfg.Log.Error("task was not stopped; the driver tries again", "task_id", c.state.TaskID, "error", err)
		select {
		case <-c.done:
		case <-ctx.Done():
		case <-time.After(endRetry):
		}
	}
}

// context returns a context that ends when the manager closes.
func (m *Manager) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	m.background.Go(func() {
		select {
		case <-m.closing:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// claimEnd records that the driver stops the task on its own account. It returns false if
// the task is being stopped already.
func (c *Container) claimEnd(reason string) bool {
	c.stateMu.Lock()
	claimed := !c.state.Stopping && c.state.Ending == ""
	if claimed {
		c.state.Ending = reason
	}
	c.stateMu.Unlock()
	if _, ended := c.Exit(); ended || !claimed {
		return false
	}
	c.m.liveness.drop(c)
	// Without it the task is stopped all the same.
	if err := c.m.checkpoint("write state of an ending task", c.rewriteState); err != nil {
		c.m.cfg.Log.Error("record why the task is stopped", "task_id", c.state.TaskID, "error", err)
	}
	return true
}

// noteStop records that Nomad stops the task: from now on the driver does not do so on its own
// account, not even after a crash. It returns false if the driver has begun to.
func (c *Container) noteStop() bool {
	c.stateMu.Lock()
	first := !c.state.Stopping
	c.state.Stopping = true
	own := c.state.Ending != ""
	c.stateMu.Unlock()
	c.m.liveness.drop(c)
	if _, ended := c.Exit(); first && !ended && (c.state.Live != nil || len(c.state.RestartWith) > 0) {
		if err := c.m.checkpoint("write state of a stopping task", c.rewriteState); err != nil {
			c.m.cfg.Log.Error("record that the task is stopped", "task_id", c.state.TaskID, "error", err)
		}
	}
	return !own
}

// stops reports whether the task has ended or is being stopped.
func (c *Container) stops() bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	_, ended := c.Exit()
	return ended || c.state.Stopping || c.state.Ending != ""
}

// endReason returns the error of a task that the driver has stopped on its own account, or nil.
func (c *Container) endReason() error {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if c.state.Ending == "" {
		return nil
	}
	return errors.New(c.state.Ending)
}

// rewriteState writes the state of a task that has not been removed.
func (c *Container) rewriteState() error {
	if !c.teardown.TryLock() {
		return nil // it is being removed
	}
	defer c.teardown.Unlock()
	if c.gone {
		return nil
	}
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.writeState()
}

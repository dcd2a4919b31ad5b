package pod

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// purge removes the remains of an interrupted start of the same task.
func (c *Container) purge() error {
	if _, err := os.Stat(c.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	old, err := c.pod.taskState(c.id)
	c.state.WithImage, c.state.ImageMounts = old.WithImage || old.ImageID != "", old.ImageMounts
	if err != nil {
		c.state.WithImage, c.state.ImageMounts = true, MaxImageMounts
	}
	return c.remove()
}

// purgeOthers removes unrecovered containers of the same task that an earlier
// manager started. The agent's exit interrupted their start, and the next start
// gets another id.
func (m *Manager) purgeOthers(c *Container) error {
	entries, err := os.ReadDir(c.pod.tasksDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		other, err := m.unknown(c.pod, e.Name())
		switch {
		case err != nil && taskPart(e.Name()) != taskPart(c.id):
			continue // written by a newer driver, which does not affect this task
		case err == nil && other != nil && other.sameTask(c):
			err = other.discard()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unknown returns a container that is on disk and was neither started nor recovered
// by this manager, or nil. One with a damaged state can only be removed.
func (m *Manager) unknown(p *pod, id string) (*Container, error) {
	state, err := p.taskState(id)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errDamaged) && m.inDir(p.taskDir(id)) != nil {
		return nil, nil // being created or removed, or its state is lost but its task is known
	}
	if errors.Is(err, errDamaged) {
		return m.salvage(p, id, err), nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := m.Get(state.TaskID); err == nil {
		return nil, nil
	}
	c := m.newContainer(p, Task{ID: state.TaskID, AllocID: state.AllocID, Name: state.Name})
	c.state = state
	return c, nil
}

// remove removes the container and everything that belongs to the task. It can be
// called again after an error.
func (c *Container) remove() error {
	if err := errors.Join(c.removeDebug(), c.removeContainer()); err != nil {
		return err
	}
	if err := c.m.removeRoot(c.id, c.storeIDs()); err != nil {
		return err
	}
	return c.removeDir()
}

// removeDir removes the task's directory, but nothing that is mounted there.
func (c *Container) removeDir() error {
	if err := c.unstage(); err != nil {
		return err
	}
	if err := c.m.removeUsersRoot(c.id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.m.cfg.TeardownTimeout)
	defer cancel()
	if err := c.drainLogs(ctx); err != nil {
		c.m.cfg.Log.Error("log is missing some of the task's output", "error", err)
	}
	if err := c.output.Close(); err != nil {
		return err
	}
	return c.m.checkpoint("remove task directory", func() error { return removeLast(c.dir, c.stateFile()) })
}

// removeLast removes a directory and its content, file last: as long as file exists,
// the rest can be found.
func removeLast(dir, file string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); path != file {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// removeContainer kills the task's processes and removes the container and the
// cgroups of the task and its monitor.
func (c *Container) removeContainer() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.m.cfg.TeardownTimeout)
	defer cancel()
	own, monitor := c.cgroup(), c.monitorCgroup()
	killOwn := func() error { return c.killAll(ctx) }
	removeOwn := own.Remove
	if c.state.CgroupPath == "" { // damaged state; see salvage
		killOwn = func() error { return nil }
		removeOwn = killOwn
	}
	return errors.Join(
		// First, so that a monitor stops creating the container.
		c.m.checkpoint("kill monitor", func() error { return monitor.Kill(ctx) }),
		c.m.checkpoint("kill task", killOwn),
		c.m.checkpoint("delete container", func() error { return c.m.runtimeOf(c.dir).Delete(ctx, c.id) }),
		c.m.checkpoint("remove task's cgroup", removeOwn),
		c.m.checkpoint("remove monitor's cgroup", monitor.Remove),
	)
}

package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sweep removes leftovers of earlier managers: pods without tasks, and roots and image
// layers that no task uses. It keeps tasks that were not destroyed, since Nomad may
// recover them. It runs once, at the latest before the first task is started or
// recovered.
func (m *Manager) Sweep() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.background.Add(1)
	m.mu.Unlock()
	defer m.background.Done()
	m.sweepOnce()
}

func (m *Manager) sweepOnce() {
	m.sweep.Do(func() {
		if err := m.sweepAll(); err != nil {
			m.cfg.Log.Error("remove leftovers of an earlier run", "error", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.closed {
			m.background.Go(m.watchDisk)
		}
		if m.cfg.DanglingAfter > 0 && !m.closed {
			m.background.Add(1)
			m.dangling = time.AfterFunc(m.cfg.DanglingAfter, func() {
				defer m.background.Done()
				m.removeDangling()
			})
		}
	})
}

// removeDangling removes tasks that were not recovered because Nomad no longer knows
// them, for example after the loss of its state.
func (m *Manager) removeDangling() {
	pods, err := os.ReadDir(m.podsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.cfg.Log.Error("find unrecovered tasks", "error", err)
	}
	for _, entry := range pods {
		if !uuid.MatchString(entry.Name()) {
			continue
		}
		p := m.enter(entry.Name())
		if err := m.removeUnknown(p); err != nil {
			m.cfg.Log.Error("unrecovered task was not removed", "alloc_id", p.allocID, "error", err)
		}
		m.leave(p)
	}
}

func (m *Manager) removeUnknown(p *pod) error {
	tasks, err := os.ReadDir(p.tasksDir())
	if err != nil {
		return err
	}
	var errs []error
	for _, task := range tasks {
		c, err := m.unknown(p, task.Name())
		if err == nil && c != nil && !c.starting() {
			m.cfg.Log.Warn("removing unrecovered task", "task_id", c.state.TaskID, "container", c.id, "error", c.damage)
			err = m.swept(m.checkpoint("remove forgotten task", c.discard))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// starting reports whether this manager is starting the container.
func (c *Container) starting() bool {
	c.pod.orderMu.Lock()
	defer c.pod.orderMu.Unlock()
	s := c.pod.order.find(c.state.Name)
	return s != nil && !s.ended
}

func (m *Manager) sweepAll() error {
	pods, err := os.ReadDir(m.podsDir())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	live := map[string]bool{}
	var errs []error
	for _, entry := range pods {
		if !uuid.MatchString(entry.Name()) {
			continue
		}
		p := m.enter(entry.Name())
		tasks, err := m.sweepTasks(p)
		m.leave(p) // a pod without tasks is removed after the linger time
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep: %w", err))
		}
		for _, id := range tasks {
			live[id] = true
		}
	}
	if len(errs) > 0 { // there may be more tasks, with roots and layers
		return errors.Join(errs...)
	}
	if len(live) == 0 {
		err = m.layers.sweep()
	}
	return errors.Join(err, m.sweepRoots(live), m.sweepLayers(live), m.sweepIDs())
}

// sweepTasks lists the tasks of a pod. It removes task directories without a state
// file: nothing was created yet, or everything else was removed already.
func (m *Manager) sweepTasks(p *pod) (live []string, err error) {
	entries, err := os.ReadDir(p.tasksDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		c := m.newContainer(p, Task{})
		c.id, c.dir = e.Name(), p.taskDir(e.Name())
		if _, err := os.Lstat(c.stateFile()); !errors.Is(err, os.ErrNotExist) {
			live = append(live, c.id)
			continue
		}
		err := c.unstage()
		if err == nil {
			err = m.checkpoint("remove directory without state", func() error { return os.RemoveAll(c.dir) })
		}
		errs = append(errs, err)
	}
	return live, errors.Join(errs...)
}

func (m *Manager) sweepRoots(live map[string]bool) error {
	entries, err := os.ReadDir(m.rootsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !live[e.Name()] {
			root := filepath.Join(m.rootsDir(), e.Name())
			errs = append(errs, m.swept(m.checkpoint("remove forgotten root", func() error { return os.RemoveAll(root) })))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) sweepLayers(live map[string]bool) error {
	if !m.imagesUsed() {
		return nil
	}
	m.collectImages()
	store, err := m.images()
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
	defer cancel()
	ids, err := store.Containers(ctx)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if task, _, _ := strings.Cut(id, "/"); !live[task] { // see imageMountID
			errs = append(errs, m.swept(m.checkpoint("remove forgotten layer", func() error { return store.Release(ctx, id) })))
		}
	}
	return errors.Join(errs...)
}

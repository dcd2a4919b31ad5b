package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// sweepOnce removes what earlier managers left, before the first task is
// started or recovered: pods without tasks, and roots and image layers that no
// task uses. Tasks that were not destroyed are not touched, since Nomad may
// recover them.
func (m *Manager) sweepOnce() {
	m.sweep.Do(func() {
		if err := m.sweepAll(); err != nil {
			m.cfg.Log.Error("not all that an earlier run left could be removed", "error", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.cfg.DanglingAfter > 0 && !m.closed {
			m.background.Add(1)
			m.dangling = time.AfterFunc(m.cfg.DanglingAfter, func() {
				defer m.background.Done()
				m.removeDangling()
			})
		}
	})
}

// removeDangling removes tasks that nobody recovered: Nomad has forgotten
// them, for example since its own state was lost.
func (m *Manager) removeDangling() {
	pods, err := os.ReadDir(m.podsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.cfg.Log.Error("look for forgotten tasks", "error", err)
	}
	for _, entry := range pods {
		if !uuid.MatchString(entry.Name()) {
			continue
		}
		p := m.enter(entry.Name())
		if err := m.removeUnknown(p); err != nil {
			m.cfg.Log.Error("a forgotten task was not removed", "alloc_id", p.allocID, "error", err)
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
			m.cfg.Log.Warn("removing a task that was not recovered", "task_id", c.state.TaskID)
			err = c.remove()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// starting tells whether this manager is about to start the container.
func (c *Container) starting() bool {
	c.pod.orderMu.Lock()
	defer c.pod.orderMu.Unlock()
	s := c.pod.order.find(c.state.Name)
	return s != nil && !s.ended
}

func (m *Manager) sweepAll() error {
	pods, err := os.ReadDir(m.podsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sweep: %w", err)
	}
	live := map[string]bool{}
	for _, entry := range pods {
		if !uuid.MatchString(entry.Name()) {
			continue
		}
		tasks, err := os.ReadDir(filepath.Join(m.podsDir(), entry.Name(), "tasks"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("sweep: %w", err)
		}
		for _, task := range tasks {
			live[task.Name()] = true
		}
		if len(tasks) == 0 {
			m.leave(m.enter(entry.Name())) // it goes after the linger time
		}
	}
	return errors.Join(m.sweepRoots(live), m.sweepLayers(live))
}

func (m *Manager) sweepRoots(live map[string]bool) error {
	entries, err := os.ReadDir(m.rootsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !live[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(m.rootsDir(), e.Name())))
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
	ctx, cancel := context.WithTimeout(context.Background(), teardownTimeout)
	defer cancel()
	ids, err := store.Containers(ctx)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if !live[id] {
			errs = append(errs, store.Release(ctx, id))
		}
	}
	return errors.Join(errs...)
}

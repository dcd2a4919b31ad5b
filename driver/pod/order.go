package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// afterTimeout bounds the wait for the tasks named in after. Nomad starts the tasks
// of one lifecycle hook together, so it covers their image pulls and ready checks.
const afterTimeout = 10 * time.Minute

// stopNotice is how long a stopping task waits for its dependents to be stopped as
// well. Nomad stops the sidecars of a group at the same time, but not the
// dependents of a task that restarts alone.
const stopNotice = 250 * time.Millisecond

// sibling is the state of a task that the other tasks of its pod can read.
type sibling struct {
	c           *Container
	name        string
	after       []string
	restartWith []string
	// partners are the IDs of the tasks in restartWith that this one was started beside, by name.
	partners map[string]string

	waiting  bool // waiting for the tasks in after and restartWith
	ready    bool
	stopping bool
	ended    bool
	cycle    []string // cycle of waiting tasks that includes this one
}

// order tracks the start and stop order of a pod's tasks. The zero value is empty.
type order struct {
	siblings []*sibling
	changed  chan struct{} // closed and replaced at every change
}

// change runs f with the order locked, stops the tasks that have lost a partner, and wakes all
// waiters.
func (p *pod) change(f func(*order)) {
	p.orderMu.Lock()
	defer p.orderMu.Unlock()
	f(&p.order)
	for _, s := range p.order.siblings {
		if name, how := p.order.lostPartner(s); name != "" {
			s.leave(name, how)
		}
	}
	if p.order.changed != nil {
		close(p.order.changed)
		p.order.changed = nil
	}
}

// await blocks until done returns true. done is called again at every change.
func (p *pod) await(ctx context.Context, done func(*order) bool) error {
	for {
		p.orderMu.Lock()
		ok := done(&p.order)
		if p.order.changed == nil {
			p.order.changed = make(chan struct{})
		}
		changed := p.order.changed
		p.orderMu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// addSibling adds a starting task and replaces an earlier one of the same name.
func (p *pod) addSibling(s *sibling) {
	p.change(func(o *order) {
		o.siblings = append(slices.DeleteFunc(o.siblings, func(old *sibling) bool { return old.name == s.name }), s)
	})
}

// removeSibling removes a task, unless another of its name has replaced it.
func (p *pod) removeSibling(s *sibling) {
	p.change(func(o *order) {
		o.siblings = slices.DeleteFunc(o.siblings, func(old *sibling) bool { return old == s })
	})
}

func (o *order) find(name string) *sibling {
	for _, s := range o.siblings {
		if s.name == name {
			return s
		}
	}
	return nil
}

// missing lists the tasks that s waits for: those in after that are not ready, and those in
// restartWith that are not ready or stop, since s would stop with them.
func (o *order) missing(s *sibling) []string {
	var out []string
	for _, name := range s.after {
		if other := o.find(name); other == nil || !other.ready {
			out = append(out, name)
		}
	}
	for _, name := range s.restartWith {
		other := o.find(name)
		if (other == nil || !other.ready || other.stopping || other.ended) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// follows reports whether s starts after a task and stops before it.
func (s *sibling) follows(name string) bool {
	return slices.Contains(s.after, name) || slices.Contains(s.restartWith, name)
}

// findCycle detects a cycle of waiting tasks that includes s and stores it in each
// of them.
func (o *order) findCycle(s *sibling) {
	if s.cycle != nil {
		return
	}
	cycle := o.pathBack(s)
	for _, name := range cycle {
		o.find(name).cycle = cycle
	}
}

// pathBack returns a path from s over waiting tasks back to s, or nil.
func (o *order) pathBack(s *sibling) []string {
	var walk func(at *sibling, path []string) []string
	walk = func(at *sibling, path []string) []string {
		for _, name := range o.missing(at) {
			if name == s.name {
				return append(path, name)
			}
			next := o.find(name)
			if next == nil || !next.waiting || slices.Contains(path, name) {
				continue
			}
			if found := walk(next, append(path, name)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(s, []string{s.name})
}

// awaitTurn blocks until the tasks in after are ready. It fails immediately if
// tasks wait for each other.
func (c *Container) awaitTurn(ctx context.Context, allocDir string) error {
	s := c.sibling
	if len(s.after)+len(s.restartWith) == 0 {
		return nil
	}
	key := strings.Join(s.waitKeys(), " and ")
	var missing, cycle []string
	look := func(o *order) bool {
		missing, cycle = o.missing(s), s.cycle
		if len(missing) == 0 {
			o.pair(s)
		}
		return len(missing) == 0 || cycle != nil
	}
	c.pod.change(func(o *order) {
		s.waiting = true
		o.findCycle(s)
		look(o)
	})
	defer c.pod.change(func(*order) { s.waiting = false })
	if len(missing) > 0 && cycle == nil {
		c.event(fmt.Sprintf("Waiting for %s (%s)", strings.Join(missing, ", "), key))
	}
	ctx, cancel := context.WithTimeout(ctx, afterTimeout)
	defer cancel()
	err := c.awaitKnown(ctx, look, func() error { return s.unknown(allocDir, missing) })
	if errors.Is(err, errUnknownTask) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s: %s did not become ready within %s: %w", key, strings.Join(missing, ", "), afterTimeout, err)
	}
	if cycle != nil {
		return fmt.Errorf("%w: %s: tasks wait for each other: %s", ErrInvalid, key, strings.Join(cycle, " → "))
	}
	return nil
}

// unknownAfter is how long a task that restart_with names may have no directory in the allocation.
// Nomad creates it as soon as the task may start.
const unknownAfter = 30 * time.Second

var errUnknownTask = errors.New("restart_with names no task that runs beside this one")

// awaitKnown is await, but fails if check does so after unknownAfter.
func (c *Container) awaitKnown(ctx context.Context, done func(*order) bool, check func() error) error {
	known, cancel := context.WithTimeout(ctx, unknownAfter)
	defer cancel()
	if err := c.pod.await(known, done); err == nil || ctx.Err() != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	return c.pod.await(ctx, done)
}

// unknown returns an error if a missing task that restart_with names has no directory in the
// allocation: the group has no such task, or Nomad starts it only after this one.
func (s *sibling) unknown(allocDir string, missing []string) error {
	for _, name := range missing {
		if !slices.Contains(s.restartWith, name) || allocDir == "" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(allocDir, filepath.Base(name))); errors.Is(err, os.ErrNotExist) || name != filepath.Base(name) {
			return fmt.Errorf("%w: restart_with = [%q]: check the name, and the lifecycle block of that task", errUnknownTask, name)
		}
	}
	return nil
}

// awaitDependents blocks until all stopping tasks that come after this one have ended, or
// ctx is done.
func (c *Container) awaitDependents(ctx context.Context) {
	c.pod.change(func(*order) { c.sibling.stopping = true })
	dependents := func(o *order, still func(*sibling) bool) bool {
		return slices.ContainsFunc(o.siblings, func(s *sibling) bool {
			return s.follows(c.sibling.name) && !s.ended && still(s)
		})
	}
	notice, cancel := context.WithTimeout(ctx, stopNotice)
	defer cancel()
	// Running dependents may be stopped a moment later.
	_ = c.pod.await(notice, func(o *order) bool {
		return !dependents(o, func(s *sibling) bool { return !s.stopping })
	})
	c.pod.change(func(o *order) {
		for _, s := range o.siblings {
			if slices.Contains(s.restartWith, c.sibling.name) && s.ready && !s.stopping && !s.ended {
				s.leave(c.sibling.name, "is stopped")
			}
		}
	})
	// The task is stopped even if its dependents do not end in time.
	_ = c.pod.await(ctx, func(o *order) bool {
		return !dependents(o, func(s *sibling) bool { return s.stopping })
	})
}

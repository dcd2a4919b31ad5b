package pod

import (
	"context"
	"fmt"
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
	name     string
	after    []string
	waiting  bool // waiting for the tasks in after
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

// change runs f with the order locked and wakes all waiters.
func (p *pod) change(f func(*order)) {
	p.orderMu.Lock()
	defer p.orderMu.Unlock()
	f(&p.order)
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

// missing lists the tasks in s.after that are not ready.
func (o *order) missing(s *sibling) []string {
	var out []string
	for _, name := range s.after {
		if other := o.find(name); other == nil || !other.ready {
			out = append(out, name)
		}
	}
	return out
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
func (c *Container) awaitTurn(ctx context.Context) error {
	s := c.sibling
	if len(s.after) == 0 {
		return nil
	}
	var missing, cycle []string
	look := func(o *order) bool {
		missing, cycle = o.missing(s), s.cycle
		return len(missing) == 0 || cycle != nil
	}
	c.pod.change(func(o *order) {
		s.waiting = true
		o.findCycle(s)
		look(o)
	})
	defer c.pod.change(func(*order) { s.waiting = false })
	if len(missing) > 0 && cycle == nil {
		c.event(fmt.Sprintf("Waiting for %s (after)", strings.Join(missing, ", ")))
	}
	ctx, cancel := context.WithTimeout(ctx, afterTimeout)
	defer cancel()
	if err := c.pod.await(ctx, look); err != nil {
		return fmt.Errorf("after: %s did not become ready within %s: %w", strings.Join(missing, ", "), afterTimeout, err)
	}
	if cycle != nil {
		return fmt.Errorf("%w: after: tasks wait for each other: %s", ErrInvalid, strings.Join(cycle, " → "))
	}
	return nil
}

// awaitDependents blocks until all stopping tasks that come after this one have ended, or
// ctx is done.
func (c *Container) awaitDependents(ctx context.Context) {
	c.pod.change(func(*order) { c.sibling.stopping = true })
	dependents := func(o *order, still func(*sibling) bool) bool {
		return slices.ContainsFunc(o.siblings, func(s *sibling) bool {
			return slices.Contains(s.after, c.sibling.name) && !s.ended && still(s)
		})
	}
	notice, cancel := context.WithTimeout(ctx, stopNotice)
	defer cancel()
	// Running dependents may be stopped a moment later.
	_ = c.pod.await(notice, func(o *order) bool {
		return !dependents(o, func(s *sibling) bool { return !s.stopping })
	})
	// The task is stopped even if its dependents do not end in time.
	_ = c.pod.await(ctx, func(o *order) bool {
		return !dependents(o, func(s *sibling) bool { return s.stopping })
	})
}

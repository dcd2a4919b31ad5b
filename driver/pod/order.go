package pod

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// afterTimeout bounds the wait for the siblings a task comes after. Nomad
// starts the tasks of one lifecycle hook together, so it is their own time to
// become ready, image and all.
const afterTimeout = 10 * time.Minute

// stopNotice is how long a task that is being stopped gives its dependents to
// be stopped as well. Nomad stops the sidecars of a group at the same time; a
// task that is restarted alone has dependents that stay.
const stopNotice = 250 * time.Millisecond

// sibling is what the tasks of a pod know of each other.
type sibling struct {
	name     string
	after    []string
	waiting  bool // for those in after
	ready    bool
	stopping bool
	ended    bool
	circle   []string // of waiting tasks that this one is part of
}

// order is who of a pod's tasks waits for whom. The zero value has nobody.
type order struct {
	siblings []*sibling
	changed  chan struct{} // closed and replaced at every change
}

// change runs f with the order locked and wakes everybody who waits.
func (p *pod) change(f func(*order)) {
	p.orderMu.Lock()
	defer p.orderMu.Unlock()
	f(&p.order)
	if p.order.changed != nil {
		close(p.order.changed)
		p.order.changed = nil
	}
}

// await returns when done says so, which is asked again at every change.
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

// enlist adds a task that starts. One of the same name that came before is
// replaced.
func (p *pod) enlist(s *sibling) {
	p.change(func(o *order) {
		o.siblings = append(slices.DeleteFunc(o.siblings, func(old *sibling) bool { return old.name == s.name }), s)
	})
}

// strike removes a task, unless another of its name has come.
func (p *pod) strike(s *sibling) {
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

// missing lists those in s.after that are not ready.
func (o *order) missing(s *sibling) []string {
	var out []string
	for _, name := range s.after {
		if other := o.find(name); other == nil || !other.ready {
			out = append(out, name)
		}
	}
	return out
}

// findCircle looks for tasks that wait for each other, s among them, and tells
// each of them.
func (o *order) findCircle(s *sibling) {
	if s.circle != nil {
		return
	}
	circle := o.wayBack(s)
	for _, name := range circle {
		o.find(name).circle = circle
	}
}

// wayBack finds a way from s, over tasks that wait, back to s.
func (o *order) wayBack(s *sibling) []string {
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

// awaitTurn waits until the tasks that a task comes after are ready. Tasks
// that wait for each other are told at once.
func (c *Container) awaitTurn(ctx context.Context) error {
	s := c.sibling
	if len(s.after) == 0 {
		return nil
	}
	var missing, circle []string
	look := func(o *order) bool {
		missing, circle = o.missing(s), s.circle
		return len(missing) == 0 || circle != nil
	}
	c.pod.change(func(o *order) {
		s.waiting = true
		o.findCircle(s)
		look(o)
	})
	defer c.pod.change(func(*order) { s.waiting = false })
	if len(missing) > 0 && circle == nil {
		c.event(fmt.Sprintf("Waiting for %s, as after says", strings.Join(missing, ", ")))
	}
	ctx, cancel := context.WithTimeout(ctx, afterTimeout)
	defer cancel()
	if err := c.pod.await(ctx, look); err != nil {
		return fmt.Errorf("after: %s did not become ready within %s: %w", strings.Join(missing, ", "), afterTimeout, err)
	}
	if circle != nil {
		return fmt.Errorf("%w: after: tasks wait for each other: %s", ErrInvalid, strings.Join(circle, " → "))
	}
	return nil
}

// awaitDependents is the opposite of awaitTurn, when the task is stopped: it
// returns when no task that comes after this one and is being stopped still
// runs, or when ctx ends.
func (c *Container) awaitDependents(ctx context.Context) {
	c.pod.change(func(*order) { c.sibling.stopping = true })
	dependents := func(o *order, still func(*sibling) bool) bool {
		return slices.ContainsFunc(o.siblings, func(s *sibling) bool {
			return slices.Contains(s.after, c.sibling.name) && !s.ended && still(s)
		})
	}
	notice, cancel := context.WithTimeout(ctx, stopNotice)
	defer cancel()
	// Those that run and are not being stopped may be about to be.
	_ = c.pod.await(notice, func(o *order) bool {
		return !dependents(o, func(s *sibling) bool { return !s.stopping })
	})
	// When the time is over the task is stopped all the same.
	_ = c.pod.await(ctx, func(o *order) bool {
		return !dependents(o, func(s *sibling) bool { return s.stopping })
	})
}

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

const (
	// afterTimeout bounds the wait for a task named in after or restart_with that is starting, or
	// not started yet. Nomad starts the tasks of one lifecycle hook together, so it covers their
	// image pulls and ready checks.
	afterTimeout = 10 * time.Minute
	// returnTimeout bounds the wait for a task that has ended to start again. Nomad cannot interrupt
	// the start of a task, not even to stop the job, so the wait for a task that may never return
	// must be short. It covers the usual delays of a restart block.
	returnTimeout = time.Minute
	// unknownAfter is how long a task may have no directory in the allocation. Nomad creates it as
	// soon as the task may start.
	unknownAfter = 30 * time.Second
)

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
	endedAt  time.Time
	cycle    []string // cycle of waiting tasks that includes this one
}

// order tracks the start and stop order of a pod's tasks. The zero value is empty.
type order struct {
	siblings []*sibling
	left     map[string]departure // tasks that have ended, or were not started, by name
	changed  chan struct{}        // closed and replaced at every change
}

// departure is the end of a task that is no longer in the pod.
type departure struct {
	at time.Time
	// completed means that the task ended with exit code 0, without being stopped.
	completed bool
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
	return p.awaitUntil(ctx, func(o *order) (bool, time.Time) { return done(o), time.Time{} })
}

// awaitUntil is await with a time that each call of done determines again, zero for none. It returns
// errExpired when that time has come.
func (p *pod) awaitUntil(ctx context.Context, done func(*order) (ok bool, until time.Time)) error {
	for {
		p.orderMu.Lock()
		ok, until := done(&p.order)
		if p.order.changed == nil {
			p.order.changed = make(chan struct{})
		}
		changed := p.order.changed
		p.orderMu.Unlock()
		if ok {
			return nil
		}
		timed, cancel := ctx, context.CancelFunc(func() {})
		if !until.IsZero() {
			timed, cancel = context.WithDeadlineCause(ctx, until, errExpired)
		}
		select {
		case <-changed:
			cancel()
		case <-timed.Done():
			cancel()
			return context.Cause(timed)
		}
	}
}

var errExpired = errors.New("the time is over")

// addSibling adds a starting task and replaces an earlier one of the same name.
func (p *pod) addSibling(s *sibling) {
	p.change(func(o *order) {
		delete(o.left, s.name)
		o.siblings = append(slices.DeleteFunc(o.siblings, func(old *sibling) bool { return old.name == s.name }), s)
	})
}

// removeSibling removes a task, unless another of its name has replaced it.
func (p *pod) removeSibling(s *sibling) {
	p.change(func(o *order) {
		if o.find(s.name) == s {
			o.leave(s)
		}
		o.siblings = slices.DeleteFunc(o.siblings, func(old *sibling) bool { return old == s })
	})
}

// leave records that a task has ended, or could not be started.
func (o *order) leave(s *sibling) {
	d := departure{at: s.endedAt}
	if exit, ended := s.c.Exit(); ended {
		d.completed = s.ready && exit.Err == nil && exit.Code == 0 && !s.stopping
	}
	o.depart(s.name, d)
}

// depart records the end of a task, at present unless d has a time.
func (o *order) depart(name string, d departure) {
	if d.at.IsZero() {
		d.at = time.Now()
	}
	if o.left == nil {
		o.left = map[string]departure{}
	}
	o.left[name] = d
}

// NotStarted records that a task failed before Start was called, so that the tasks of its pod do not
// wait for it as long as for one that was never started.
func (m *Manager) NotStarted(allocID, name string) {
	m.mu.Lock()
	p := m.pods[allocID]
	m.mu.Unlock()
	if p == nil {
		return
	}
	p.change(func(o *order) {
		if o.find(name) == nil {
			o.depart(name, departure{})
		}
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

// missing lists the tasks that s waits for: those in after that are not ready and have not
// completed, and those in restartWith that are not ready or stop, since s would stop with them.
func (o *order) missing(s *sibling) []string {
	var out []string
	for _, name := range s.after {
		other := o.find(name)
		if other == nil && !o.left[name].completed || other != nil && !other.ready {
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

// turn is the wait of a starting task for its turn.
type turn struct {
	s        *sibling
	key      string // of the task's config
	allocDir string
	begun    time.Time
	known    bool // all missing tasks have a directory

	missing, cycle []string
	late           string // the missing task for which the time is over first
	returns        bool   // late has ended
}

// awaitTurn blocks until the tasks in after and restartWith are ready. It fails immediately if
// tasks wait for each other.
func (c *Container) awaitTurn(ctx context.Context, allocDir string) error {
	s := c.sibling
	if len(s.after)+len(s.restartWith) == 0 {
		return nil
	}
	t := &turn{s: s, key: strings.Join(s.waitKeys(), " and "), allocDir: allocDir, begun: time.Now()}
	c.pod.change(func(o *order) {
		s.waiting = true
		o.findCycle(s)
		t.check(o)
	})
	defer c.pod.change(func(*order) { s.waiting = false })
	if len(t.missing) > 0 && t.cycle == nil {
		c.event(fmt.Sprintf("Waiting for %s (%s)", strings.Join(t.missing, ", "), t.key))
	}
	err := c.pod.awaitUntil(ctx, t.check)
	for errors.Is(err, errExpired) && !t.known && time.Since(t.begun) < afterTimeout {
		if err := t.checkKnown(); err != nil {
			return err
		}
		t.known = true
		err = c.pod.awaitUntil(ctx, t.check)
	}
	switch {
	case t.cycle != nil:
		return fmt.Errorf("%w: %s: tasks wait for each other: %s", ErrInvalid, t.key, strings.Join(t.cycle, " → "))
	case errors.Is(err, errExpired) && t.returns:
		return fmt.Errorf("%s: task %q has ended and was not started again within %s", t.key, t.late, returnTimeout)
	case errors.Is(err, errExpired):
		return fmt.Errorf("%s: %s did not become ready within %s", t.key, strings.Join(t.missing, ", "), afterTimeout)
	case err != nil:
		return fmt.Errorf("%s: waiting for %s: %w", t.key, strings.Join(t.missing, ", "), err)
	}
	return nil
}

// check reports whether the wait is over, and otherwise until when it may take.
func (t *turn) check(o *order) (over bool, until time.Time) {
	t.missing, t.cycle = o.missing(t.s), t.s.cycle
	if len(t.missing) == 0 {
		o.pair(t.s)
	}
	if len(t.missing) == 0 || t.cycle != nil {
		return true, time.Time{}
	}
	until, t.returns = t.begun.Add(afterTimeout), false
	if !t.known {
		until = t.begun.Add(unknownAfter)
	}
	for _, name := range t.missing {
		ended, gone := o.endOf(name)
		if !gone {
			continue
		}
		if ended.Before(t.begun) {
			ended = t.begun
		}
		if limit := ended.Add(returnTimeout); limit.Before(until) {
			until, t.late, t.returns = limit, name, true
		}
	}
	return false, until
}

// endOf returns when a task ended that may start again.
func (o *order) endOf(name string) (at time.Time, ended bool) {
	if other := o.find(name); other != nil {
		return other.endedAt, other.ended
	}
	d, left := o.left[name]
	return d.at, left
}

var errUnknownTask = errors.New("names no task that runs beside this one")

// checkKnown returns an error if a missing task has no directory in the allocation: the group has no
// such task, or Nomad starts it only after this one.
func (t *turn) checkKnown() error {
	for _, name := range t.missing {
		if t.allocDir == "" {
			return nil
		}
		if _, err := os.Lstat(filepath.Join(t.allocDir, filepath.Base(name))); errors.Is(err, os.ErrNotExist) || name != filepath.Base(name) {
			key := "after"
			if slices.Contains(t.s.restartWith, name) {
				key = "restart_with"
			}
			return fmt.Errorf("%s = [%q] %w: check the name, and the lifecycle block of that task", key, name, errUnknownTask)
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

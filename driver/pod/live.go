package pod

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Live configures the liveness check of a task, which begins when the task is ready.
type Live struct {
	Check

	Interval time.Duration `json:"interval"` // between the begins of two attempts
	Timeout  time.Duration `json:"timeout"`  // of one attempt; at most Interval
	Failures int           `json:"failures"` // in a row, after which the task is stopped
}

const (
	// liveBeat aligns the attempts of all tasks, so that they wake this process together.
	liveBeat = 250 * time.Millisecond
	// liveSlots is the number of concurrent attempts, except for attempts that hang.
	liveSlots = 8
	// hangsAfter is how long an attempt occupies a slot. A task that does not answer
	// must not delay the attempts of others.
	hangsAfter = 200 * time.Millisecond
	// lateAfter is how late a timeout may be noticed. If it is noticed later, this process
	// was stopped or starved, and the task may have answered in time.
	lateAfter = 100 * time.Millisecond
)

// liveness runs the liveness checks of all tasks of a node. One goroutine with one timer starts the
// attempts that are due; between two attempts a task has neither.
type liveness struct {
	m     *Manager
	began time.Time
	wake  chan struct{} // has capacity for one wake-up

	mu      sync.Mutex
	started bool
	waiting attempts   // for their time, or for a slot
	running []*attempt // oldest first
	next    time.Time  // when the goroutine's timer fires
}

// attempt is the next or the running attempt of a task. Its fields are guarded by
// liveness.mu.
type attempt struct {
	c      *Container
	index  int // in the heap
	due    time.Time
	begun  time.Time
	cancel context.CancelCauseFunc // nil unless running

	failed  int       // in a row
	broken  bool      // the last attempt could not be run
	held    time.Time // no attempt counts before
	dropped bool
}

var (
	errNoAnswer = errors.New("timed out")
	errLate     = errors.New("this process was stopped or starved")
	errDropped  = errors.New("the task stops")
)

func newLiveness(m *Manager) *liveness {
	return &liveness{m: m, began: time.Now(), wake: make(chan struct{}, 1)}
}

// add begins to check a task after the delay.
func (l *liveness) add(c *Container, delay time.Duration) {
	live := c.state.Live
	if live == nil || live.Interval <= 0 || live.Failures <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.stops() {
		return
	}
	c.attempt = &attempt{c: c}
	l.push(c.attempt, time.Now().Add(delay))
	if !l.started {
		l.started = true
		l.m.background.Go(l.run)
	}
}

// resume checks a recovered task again, at a random time within its interval: many tasks are
// recovered together.
func (l *liveness) resume(c *Container) {
	if live := c.state.Live; live != nil && live.Interval > 0 {
		l.add(c, rand.N(live.Interval))
	}
}

// drop ends the checks of a task.
func (l *liveness) drop(c *Container) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := c.attempt
	if a == nil || a.dropped {
		return
	}
	a.dropped = true
	if a.cancel != nil {
		a.cancel(errDropped)
		return
	}
	heap.Remove(&l.waiting, a.index)
}

// hold suspends the checks of a task and counts from 0 again.
func (l *liveness) hold(c *Container, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := c.attempt
	if a == nil || a.dropped {
		return
	}
	a.held, a.failed = time.Now().Add(d), 0
	if a.cancel != nil {
		a.cancel(errDropped)
		return
	}
	heap.Remove(&l.waiting, a.index)
	l.push(a, a.held)
}

// push schedules an attempt. The caller holds mu.
func (l *liveness) push(a *attempt, due time.Time) {
	since := due.Sub(l.began)
	a.due = l.began.Add((since + liveBeat - 1).Truncate(liveBeat))
	heap.Push(&l.waiting, a)
	if a.due.Before(l.next) {
		l.rouse()
	}
}

// rouse makes the goroutine check for due attempts.
func (l *liveness) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run starts the attempts until the manager closes, which cancels those that run.
func (l *liveness) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.m.closing:
			return
		case <-l.wake:
		case <-timer.C:
		}
		timer.Reset(l.launch(ctx))
	}
}

// nothingDue is how long the goroutine sleeps without tasks.
const nothingDue = time.Hour

// launch starts the attempts that are due and have a slot. It returns when it must be called
// again.
func (l *liveness) launch(ctx context.Context) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.next = now.Add(nothingDue)
	for len(l.waiting) > 0 {
		if first := l.waiting[0]; first.due.After(now) {
			l.next = first.due
			break
		}
		if free := l.slotFree(now); free.After(now) {
			l.next = free
			break
		}
		a := heap.Pop(&l.waiting).(*attempt)
		l.running = append(l.running, a)
		own, cancel := context.WithCancelCause(ctx)
		a.begun, a.cancel = now, cancel
		l.m.background.Go(func() { l.attempt(own, a) })
	}
	return time.Until(l.next)
}

// slotFree returns when an attempt may start if none ends before.
func (l *liveness) slotFree(now time.Time) time.Time {
	slots := liveSlots
	for _, a := range slices.Backward(l.running) { // youngest first
		hangs := a.begun.Add(hangsAfter)
		if !hangs.After(now) {
			break
		}
		if slots--; slots == 0 {
			return hangs
		}
	}
	return now
}

// attempt runs one attempt and acts on its result.
func (l *liveness) attempt(ctx context.Context, a *attempt) {
	live, begun, cancel := a.c.state.Live, a.begun, a.cancel
	timer := time.AfterFunc(live.Timeout, func() {
		if time.Since(begun) > live.Timeout+lateAfter {
			cancel(errLate)
			return
		}
		cancel(fmt.Errorf("%w after %s", errNoAnswer, live.Timeout))
	})
	err := a.c.try(ctx, live.Check)
	timer.Stop()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	note, reason := l.settle(a, l.vouch(a, err))
	if note != "" {
		a.c.event(note)
	}
	if reason != "" {
		l.m.cfg.Observer.NotAlive()
		a.c.endItself(reason)
	}
}

// vouchTimeout bounds the command of vouch.
const vouchTimeout = 10 * time.Second

// vouch returns the error of an attempt. Before a command in the task fails it for the last time,
// the OCI runtime must show that it works: a broken one would end every such task of the node.
func (l *liveness) vouch(a *attempt, err error) error {
	live := a.c.state.Live
	l.mu.Lock()
	last := a.failed+1 >= live.Failures && !a.dropped
	l.mu.Unlock()
	if err == nil || len(live.Exec) == 0 || !last || errors.As(err, new(brokenCheck)) {
		return err
	}
	ctx, cancel := l.m.context()
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, vouchTimeout)
	defer cancel()
	if _, broken := l.m.runtimeOf(a.c.dir).State(ctx, a.c.id); broken != nil {
		return brokenCheck{broken}
	}
	return err
}

// settle records the result of an attempt and schedules the next one. It returns the text of an
// event, if any, and why the task must be stopped, if so.
func (l *liveness) settle(a *attempt, err error) (note, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, live := time.Now(), a.c.state.Live
	starved := len(l.waiting) > 0 && !l.waiting[0].due.After(now)
	l.running = slices.DeleteFunc(l.running, func(r *attempt) bool { return r == a })
	a.cancel = nil
	if starved {
		l.rouse()
	}
	broken := errors.As(err, new(brokenCheck))
	switch {
	case a.dropped:
		return "", ""
	case errors.Is(err, context.Canceled): // the manager closes
		return "", ""
	case err == nil || errors.Is(err, errLate) || now.Before(a.held):
		a.failed = 0
	case broken:
		if !a.broken {
			note = fmt.Sprintf("The liveness check could not be run, which does not count: %s: %v", live.Check, err)
		}
	default:
		a.failed++
	}
	a.broken = broken
	if a.failed >= live.Failures {
		a.dropped = true
		return "", fmt.Sprintf("Liveness check failed %s: %s: %v", times(a.failed), live.Check, err)
	}
	due := a.due.Add(live.Interval)
	for _, earliest := range []time.Time{now, a.held} {
		if due.Before(earliest) {
			due = earliest
		}
	}
	l.push(a, due)
	return note, ""
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times in a row", n)
}

// attempts is a heap ordered by time.
type attempts []*attempt

func (q attempts) Len() int           { return len(q) }
func (q attempts) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q attempts) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *attempts) Push(x any) {
	a := x.(*attempt)
	a.index = len(*q)
	*q = append(*q, a)
}

// Pop implements heap.Interface.
func (q *attempts) Pop() any {
	last := len(*q) - 1
	a := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return a
}

// endsPrograms reports whether a signal is meant to end the task.
func (c *Container) endsPrograms(sig unix.Signal) bool {
	return slices.Contains([]unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGKILL, c.stopSignal(), c.state.Kill.Signal}, sig)
}

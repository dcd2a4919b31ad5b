package pod

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// liveFixture is a manager with tasks whose process is this one.
type liveFixture struct {
	t *testing.T
	m *Manager

	mu     sync.Mutex
	tasks  map[string]*Container
	events []string
}

func newLiveFixture(t *testing.T) *liveFixture {
	t.Helper()
	k := &liveFixture{t: t, tasks: map[string]*Container{}}
	k.m = New(Config{RunDir: t.TempDir(), DataDir: t.TempDir(), Event: k.event})
	t.Cleanup(func() { must.NoError(t, k.m.Close()) })
	return k
}

// event records an event, and ends a task that the driver stops.
func (k *liveFixture) event(taskID, _, _, message string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, taskID+": "+message)
	if c := k.tasks[taskID]; strings.HasPrefix(message, "Liveness check failed") {
		close(c.done)
	}
}

func (k *liveFixture) sentEvents() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.events)
}

// task adds a task and starts its checks.
func (k *liveFixture) task(id string, live Live) *Container {
	k.t.Helper()
	c := k.m.newContainer(&pod{m: k.m, allocID: alloc}, Task{ID: id, AllocID: alloc, Name: id, Live: &live})
	self, err := process.Identify(os.Getpid())
	must.NoError(k.t, err)
	c.state.Init = self
	k.mu.Lock()
	k.tasks[id] = c
	k.mu.Unlock()
	k.m.liveness.add(c, 0)
	return c
}

func (k *liveFixture) waitFor(what string, done func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(testtimeout.Scale(20 * time.Second)); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("timed out waiting for %s; events: %q", what, k.sentEvents())
		}
	}
}

// idle reports that no task is checked.
func (k *liveFixture) idle() bool {
	k.m.liveness.mu.Lock()
	defer k.m.liveness.mu.Unlock()
	return len(k.m.liveness.waiting)+len(k.m.liveness.running) == 0
}

// silentServer starts a server that accepts connections and never responds, and returns its URL.
func silentServer(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to enter a network namespace")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, l.Close()) })
	return "http://" + l.Addr().String()
}

// Trap D27: a task that has ended is not checked.
func TestLive_FailuresInARow(t *testing.T) {
	k := newLiveFixture(t)
	path := filepath.Join(t.TempDir(), "up")
	must.NoError(t, os.WriteFile(path, nil, 0o600))
	c := k.task("web", Live{Check: Check{File: path}, Interval: time.Millisecond, Timeout: time.Minute, Failures: 2})
	attempts := func() time.Time {
		k.m.liveness.mu.Lock()
		defer k.m.liveness.mu.Unlock()
		return c.attempt.due
	}
	for first := attempts(); attempts().Equal(first); {
		time.Sleep(time.Millisecond)
	}
	must.SliceEmpty(t, k.sentEvents())
	must.NoError(t, os.Remove(path))
	k.waitFor("the end", func() bool { _, ended := c.Exit(); return ended })
	must.Eq(t, []string{"web: Liveness check failed 2 times in a row: file " + path + ": no such file or directory"}, k.sentEvents())
	must.EqError(t, c.endReason(), "Liveness check failed 2 times in a row: file "+path+": no such file or directory")
	must.True(t, k.idle())
}

// Trap D23: a check that hangs occupies no slot.
func TestLive_HungTasksDelayNoOthers(t *testing.T) {
	k := newLiveFixture(t)
	url := silentServer(t)
	var hung []*Container
	for i := range 3 * liveSlots {
		hung = append(hung, k.task("hung"+string(rune('a'+i)), Live{Check: Check{HTTP: url}, Interval: time.Hour, Timeout: time.Hour, Failures: 1}))
	}
	k.waitFor("all checks to hang", func() bool {
		k.m.liveness.mu.Lock()
		defer k.m.liveness.mu.Unlock()
		return len(k.m.liveness.running) == len(hung)
	})
	c := k.task("web", Live{Check: Check{File: "/no/such"}, Interval: time.Millisecond, Timeout: time.Minute, Failures: 3})
	k.waitFor("the end", func() bool { _, ended := c.Exit(); return ended })
	for _, c := range hung {
		k.m.liveness.drop(c)
	}
	k.waitFor("the attempts to be cancelled", k.idle)
	must.Len(t, 1, k.sentEvents())
}

func TestLive_Timeout(t *testing.T) {
	k := newLiveFixture(t)
	url := silentServer(t)
	k.task("web", Live{Check: Check{HTTP: url}, Interval: time.Hour, Timeout: time.Millisecond, Failures: 1})
	k.waitFor("the end of the task, or a late attempt", func() bool { return len(k.sentEvents()) > 0 || k.awaitsSecondAttempt("web") })
	for _, e := range k.sentEvents() {
		must.Eq(t, "web: Liveness check failed once: http "+url+": timed out after 1ms", e)
	}
}

// awaitsSecondAttempt reports whether the task waits for its second attempt.
func (k *liveFixture) awaitsSecondAttempt(id string) bool {
	k.mu.Lock()
	c := k.tasks[id]
	k.mu.Unlock()
	k.m.liveness.mu.Lock()
	defer k.m.liveness.mu.Unlock()
	return time.Until(c.attempt.due) > time.Minute
}

func TestLive_ManagerClosesDuringAttempt(t *testing.T) {
	k := newLiveFixture(t)
	url := silentServer(t)
	c := k.task("web", Live{Check: Check{HTTP: url}, Interval: time.Hour, Timeout: time.Hour, Failures: 1})
	k.waitFor("the attempt", func() bool {
		k.m.liveness.mu.Lock()
		defer k.m.liveness.mu.Unlock()
		return len(k.m.liveness.running) == 1
	})
	must.NoError(t, k.m.Close())
	must.SliceEmpty(t, k.sentEvents())
	must.Nil(t, c.endReason())
}

// Trap D25: an attempt counts only if the task could respond and was expected to.
func TestLive_WhatCounts(t *testing.T) {
	const interval = time.Hour
	for name, tc := range map[string]struct {
		err    error
		held   time.Duration
		failed int // after one failure
		note   string
		reason string
	}{
		"passed":  {nil, 0, 0, "", ""},
		"failed":  {errors.New("status 503"), 0, 2, "", "Liveness check failed 2 times in a row: file /x: status 503"},
		"late":    {errLate, 0, 0, "", ""},
		"dropped": {errDropped, time.Minute, 0, "", ""},
		"held":    {errors.New("status 503"), 2 * interval, 0, "", ""},
		"broken":  {brokenCheck{unix.EMFILE}, 0, 1, "The liveness check could not be run, which does not count: file /x: too many open files", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := newLiveFixture(t)
			c := k.m.newContainer(&pod{m: k.m}, Task{ID: "web", Live: &Live{Check: Check{File: "/x"}, Interval: interval, Failures: 2}})
			a := &attempt{c: c, failed: 1, due: time.Now()}
			if tc.held > 0 {
				a.held = time.Now().Add(tc.held)
			}
			note, reason := k.m.liveness.settle(a, tc.err)
			must.Eq(t, tc.failed, a.failed)
			must.Eq(t, tc.note, note)
			must.Eq(t, tc.reason, reason)
			must.Eq(t, reason != "", a.dropped)
			if !a.dropped {
				must.False(t, a.due.Before(a.held))
				note, _ = k.m.liveness.settle(a, tc.err)
				must.Eq(t, "", note, must.Sprint("second event"))
			}
		})
	}
}

func TestLive_HeldAfterSignal(t *testing.T) {
	k := newLiveFixture(t)
	c := k.task("web", Live{Check: Check{File: "/no/such"}, Interval: time.Hour, Timeout: time.Minute, Failures: 2})
	c.state.Kill.Timeout = 2 * time.Hour
	k.waitFor("the first attempt", func() bool { return k.awaitsSecondAttempt("web") })
	due := func() time.Duration {
		k.m.liveness.mu.Lock()
		defer k.m.liveness.mu.Unlock()
		must.False(t, c.attempt.dropped)
		return time.Until(c.attempt.due)
	}
	must.NoError(t, c.Signal(unix.SIGHUP))
	must.Less(t, time.Hour+time.Minute, due())
	must.NoError(t, c.Signal(unix.SIGTERM))
	must.Greater(t, time.Hour+time.Minute, due())
	must.Eq(t, 0, c.attempt.failed)
}

// Trap D24: a stop by Nomad takes precedence: the driver no longer acts on failed checks.
func TestLive_StopComesFirst(t *testing.T) {
	k := newLiveFixture(t)
	c := k.task("web", Live{Check: Check{File: "/no/such"}, Interval: time.Hour, Timeout: time.Minute, Failures: 2})
	must.True(t, c.noteStop())
	k.waitFor("no checks", k.idle)
	c.endItself("Liveness check failed")
	must.Nil(t, c.endReason())
	must.SliceEmpty(t, k.sentEvents())
	k.m.liveness.add(c, 0)
	must.True(t, k.idle())
}

package driver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// crashScenario is a part of the life of a task, every step of which is failed and
// killed at.
type crashScenario struct {
	name string
	// prepare makes what there is before.
	prepare func(t *testing.T, w *world)
	config  func(*pod.Config)
	acts    []act
	// Before the step from and from the step until on, another scenario has
	// the same ones.
	from, until string
	// joins has the task be in the pod of a companion.
	joins bool
	// noOverlay has its root made where it can not be an overlay.
	noOverlay bool
	// alone has no companions: it would end those that nobody recovers.
	alone bool
	// plain has the task be without an image.
	plain bool
	// dying has its liveness check fail.
	dying bool
	// enlarges has the task ask for more shared memory than its pod has.
	enlarges bool
}

// act is what Nomad asks for, once, and once more where it failed.
type act struct {
	name string
	do   func(ctx context.Context, w *world, m *pod.Manager, failed func() bool) error
}

func crashScenarios() []crashScenario {
	start := act{"start", func(ctx context.Context, w *world, m *pod.Manager, _ func() bool) error {
		_, err := m.Start(ctx, w.task())
		return err
	}}
	stop := act{"stop", func(ctx context.Context, w *world, m *pod.Manager, _ func() bool) error {
		c, err := m.Get(w.task().ID)
		if err != nil {
			return err
		}
		return c.Stop(ctx, 0, maxWait)
	}}
	destroy := act{"destroy", func(ctx context.Context, w *world, m *pod.Manager, _ func() bool) error {
		c, err := m.Get(w.task().ID)
		if err != nil {
			return err
		}
		return c.Destroy(ctx, true)
	}}
	recovers := act{"recover", func(ctx context.Context, w *world, m *pod.Manager, _ func() bool) error {
		_, err := m.Recover(ctx, w.Alloc, "app", w.task().ID)
		return err
	}}
	gone := act{"end", func(_ context.Context, w *world, _ *pod.Manager, failed func() bool) error {
		w.awaitEnd(w.Alloc, failed)
		return nil
	}}
	dies := act{"liveness", func(ctx context.Context, w *world, m *pod.Manager, _ func() bool) error {
		c, err := m.Get(w.task().ID)
		if err != nil {
			return err
		}
		select {
		case <-c.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		if exit, _ := c.Exit(); exit.Err == nil {
			return errors.New("the task ended without a reason")
		}
		return nil
	}}
	sweep := act{"sweep", func(_ context.Context, _ *world, m *pod.Manager, _ func() bool) error {
		m.Sweep()
		return nil
	}}
	broken := act{"broken start", func(ctx context.Context, w *world, m *pod.Manager, _ func() bool) error {
		t := w.task()
		t.Process.Entrypoint = []string{"/not/there"}
		if _, err := m.Start(ctx, t); err == nil {
			return errors.New("a program that is not there was started")
		}
		return nil
	}}
	collected := act{"collect", func(_ context.Context, w *world, _ *pod.Manager, failed func() bool) error {
		w.awaitNone("data/images/used/*", failed)
		return nil
	}}
	return []crashScenario{
		{name: "one more of a pod", joins: true, acts: []act{start, stop, destroy}},
		{name: "one without an overlay", joins: true, noOverlay: true, acts: []act{start, stop, destroy}, from: "make root", until: "write spec"},
		{name: "one with more shared memory", joins: true, enlarges: true, acts: []act{start, destroy}, from: "enlarge shared memory", until: "start monitor"},
		{name: "first of a pod", acts: []act{start, stop, destroy, gone}},
		{name: "first of a node", prepare: withoutHostRoots, alone: true, plain: true, acts: []act{start, destroy, gone}, from: "make host root", until: "make overlay"},
		{name: "not alive", dying: true, acts: []act{start, dies, destroy, gone}, from: "write state of an ending task", until: "run pre_stop"},
		{name: "recovered", prepare: started, acts: []act{recovers, stop, destroy, gone}, until: "run pre_stop"},
		{name: "started again", prepare: halfStarted, acts: []act{start, destroy, gone}, until: "make task directory"},
		{name: "started again without a layer", prepare: withoutLayer, acts: []act{start, destroy, gone}, from: "unmount layer", until: "make task directory"},
		{name: "killed", prepare: started, acts: []act{recovers, destroy, gone}, until: "kill monitor"},
		{name: "not started", acts: []act{broken, gone}, from: "await container"},
		{name: "swept", prepare: leftovers, acts: []act{sweep, gone}},
		{
			name: "forgotten", prepare: started, acts: []act{sweep, gone}, alone: true,
			config: func(c *pod.Config) { c.DanglingAfter = time.Millisecond },
		},
		{
			name: "images collected", prepare: pulledImage, acts: []act{sweep, collected}, alone: true,
			config: func(c *pod.Config) { c.ImageGCDelay = time.Nanosecond },
		},
	}
}

func crashScenarioOf(name string) crashScenario {
	all := crashScenarios()
	return all[slices.IndexFunc(all, func(s crashScenario) bool { return s.name == name })]
}

// started has the task started by a manager that is gone.
func started(t *testing.T, w *world) {
	t.Helper()
	m := pod.New(w.config())
	_, err := m.Start(t.Context(), w.task())
	must.NoError(t, err)
	must.NoError(t, m.Close())
}

// halfStarted has a manager killed in the middle of the task's start.
func halfStarted(t *testing.T, w *world) {
	t.Helper()
	w.killAt(t, crashScenarioOf("first of a pod"), "start program")
}

// withoutHostRoots removes the host roots that tasks share.
func withoutHostRoots(t *testing.T, w *world) {
	t.Helper()
	must.NoError(t, os.RemoveAll(w.path("run/skeletons")))
}

// withoutLayer has one killed before it made the task's layer.
func withoutLayer(t *testing.T, w *world) {
	t.Helper()
	w.killAt(t, crashScenarioOf("first of a pod"), "make layer")
}

// leftovers has a pod without tasks, and a root, a layer and a directory of
// tasks that are gone.
func leftovers(t *testing.T, w *world) {
	t.Helper()
	config := w.config()
	config.Linger = maxWait
	m := pod.New(config)
	c, err := m.Start(t.Context(), w.task())
	must.NoError(t, err)
	must.NoError(t, c.Destroy(t.Context(), true))
	must.NoError(t, m.Close())
	must.NoError(t, os.MkdirAll(w.path("data/roots/gone/etc"), 0o755))
	must.NoError(t, os.MkdirAll(w.path("run/pods/"+w.Alloc+"/tasks/gone/files"), 0o755))
	w.withImage(t, func(store *image.Store, img image.Image) {
		_, err = store.Mount(t.Context(), "gone", img)
		must.NoError(t, err)
	})
}

// pulledImage has an image in the store.
func pulledImage(t *testing.T, w *world) {
	t.Helper()
	w.withImage(t, func(*image.Store, image.Image) {})
}

func (w *world) withImage(t *testing.T, use func(*image.Store, image.Image)) {
	t.Helper()
	store, err := image.Open(w.config().Images)
	must.NoError(t, err)
	ref, err := w.reference()
	must.NoError(t, err)
	img, err := store.Ensure(t.Context(), ref, image.PullOptions{})
	must.NoError(t, err)
	use(store, img)
	must.NoError(t, store.Close())
}

// play has a manager do what a scenario says, each act once more where it
// failed, and tells what was begun and done.
func (s crashScenario) play(w *world, before func(step string) error, tell func(string)) (err error) {
	config := w.config()
	if s.config != nil {
		s.config(&config)
	}
	var failed atomic.Bool
	count := newCounter()
	config.Before = func(step string) error {
		err := before(count(step))
		if err != nil {
			failed.Store(true)
		}
		return err
	}
	m := pod.New(config)
	defer func() { err = errors.Join(err, m.Close()) }()
	for _, a := range s.acts {
		tell(a.name + " begun")
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		if err := a.do(ctx, w, m, failed.Load); err != nil {
			if err := a.do(ctx, w, m, failed.Load); err != nil {
				return fmt.Errorf("%s, again: %w", a.name, err)
			}
		}
		tell(a.name + " done")
	}
	return nil
}

// newCounter tells the second and later times of a step from the first.
func newCounter() func(step string) string {
	var mu sync.Mutex
	times := map[string]int{}
	return func(step string) string {
		mu.Lock()
		defer mu.Unlock()
		if times[step]++; times[step] > 1 {
			return fmt.Sprintf("%s (%d)", step, times[step])
		}
		return step
	}
}

var errMadeToFail = errors.New("made to fail")

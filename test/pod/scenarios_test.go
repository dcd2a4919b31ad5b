package pod_test

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

// crashScenario is a part of a task's life. Tests inject a fault at each of its checkpoints.
type crashScenario struct {
	name string
	// prepare creates the initial state, if any.
	prepare func(t *testing.T, e *podEnv)
	config  func(*pod.Config)
	actions []action
	// from and until limit the injection to the checkpoints from from to before until: another
	// scenario has the others.
	from, until string
	// sharedPod runs the task in the pod of a companion.
	sharedPod bool
	// noOverlay places the root on a path that overlayfs does not support.
	noOverlay bool
	// noCompanions runs without companions: the scenario ends tasks that are not recovered.
	noCompanions bool
	// noImage runs a task without an image.
	noImage bool
	// failsLiveness makes the task's liveness check fail.
	failsLiveness bool
	// enlargesShm makes the task request more shared memory than its pod has.
	enlargesShm bool
}

// action is a request of Nomad. Nomad repeats it once if it fails.
type action struct {
	name string
	do   func(ctx context.Context, e *podEnv, m *pod.Manager, failed func() bool) error
}

func crashScenarios() []crashScenario {
	start := action{"start", func(ctx context.Context, e *podEnv, m *pod.Manager, _ func() bool) error {
		_, err := m.Start(ctx, e.task())
		return err
	}}
	stop := action{"stop", func(ctx context.Context, e *podEnv, m *pod.Manager, _ func() bool) error {
		c, err := m.Get(e.task().ID)
		if err != nil {
			return err
		}
		return c.Stop(ctx, 0, maxWait)
	}}
	destroy := action{"destroy", func(ctx context.Context, e *podEnv, m *pod.Manager, _ func() bool) error {
		c, err := m.Get(e.task().ID)
		if err != nil {
			return err
		}
		return c.Destroy(ctx, true)
	}}
	recovers := action{"recover", func(ctx context.Context, e *podEnv, m *pod.Manager, _ func() bool) error {
		_, err := m.Recover(ctx, e.Alloc, "app", e.task().ID)
		return err
	}}
	gone := action{"end", func(_ context.Context, e *podEnv, _ *pod.Manager, failed func() bool) error {
		e.awaitEnd(e.Alloc, failed)
		return nil
	}}
	dies := action{"liveness", func(ctx context.Context, e *podEnv, m *pod.Manager, _ func() bool) error {
		c, err := m.Get(e.task().ID)
		if err != nil {
			return err
		}
		select {
		case <-c.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		if exit, _ := c.Exit(); exit.Err == nil {
			return errors.New("exit has no error")
		}
		return nil
	}}
	sweep := action{"sweep", func(_ context.Context, _ *podEnv, m *pod.Manager, _ func() bool) error {
		m.Sweep()
		return nil
	}}
	broken := action{"broken start", func(ctx context.Context, e *podEnv, m *pod.Manager, _ func() bool) error {
		t := e.task()
		t.Process.Entrypoint = []string{"/not/there"}
		if _, err := m.Start(ctx, t); err == nil {
			return errors.New("start of a missing program succeeded")
		}
		return nil
	}}
	collected := action{"collect", func(_ context.Context, e *podEnv, _ *pod.Manager, failed func() bool) error {
		e.awaitNone("data/images/used/*", failed)
		return nil
	}}
	return []crashScenario{
		{name: "another task of a pod", sharedPod: true, actions: []action{start, stop, destroy}},
		{name: "task without an overlay", sharedPod: true, noOverlay: true, actions: []action{start, stop, destroy}, from: "make root", until: "write spec"},
		{name: "task with more shared memory", sharedPod: true, enlargesShm: true, actions: []action{start, destroy}, from: "enlarge shared memory", until: "start monitor"},
		{name: "first task of a pod", actions: []action{start, stop, destroy, gone}},
		{name: "first task of a node", prepare: withoutHostRoots, noCompanions: true, noImage: true, actions: []action{start, destroy, gone}, from: "make host root", until: "make overlay"},
		{name: "liveness check fails", failsLiveness: true, actions: []action{start, dies, destroy, gone}, from: "write state of an ending task", until: "run pre_stop"},
		{name: "recovered", prepare: started, actions: []action{recovers, stop, destroy, gone}, until: "run pre_stop"},
		{name: "started again", prepare: halfStarted, actions: []action{start, destroy, gone}, until: "make task directory"},
		{name: "started again without a layer", prepare: withoutLayer, actions: []action{start, destroy, gone}, from: "unmount layer", until: "make task directory"},
		{name: "killed", prepare: started, actions: []action{recovers, destroy, gone}, until: "kill monitor"},
		{name: "start fails", actions: []action{broken, gone}, from: "await container"},
		{name: "swept", prepare: leftovers, actions: []action{sweep, gone}},
		{
			name: "forgotten", prepare: started, actions: []action{sweep, gone}, noCompanions: true,
			config: func(c *pod.Config) { c.DanglingAfter = time.Millisecond },
		},
		{
			name: "images collected", prepare: pulledImage, actions: []action{sweep, collected}, noCompanions: true,
			config: func(c *pod.Config) { c.ImageGCDelay = time.Nanosecond },
		},
	}
}

func crashScenarioOf(name string) crashScenario {
	all := crashScenarios()
	return all[slices.IndexFunc(all, func(s crashScenario) bool { return s.name == name })]
}

// started starts the task with a manager that is then closed.
func started(t *testing.T, e *podEnv) {
	t.Helper()
	m := pod.New(e.config())
	_, err := m.Start(t.Context(), e.task())
	must.NoError(t, err)
	must.NoError(t, m.Close())
}

// halfStarted kills a manager in the middle of the task's start.
func halfStarted(t *testing.T, e *podEnv) {
	t.Helper()
	e.killAt(t, crashScenarioOf("first task of a pod"), "start program")
}

// withoutHostRoots removes the host roots that tasks share.
func withoutHostRoots(t *testing.T, e *podEnv) {
	t.Helper()
	must.NoError(t, os.RemoveAll(e.path("run/skeletons")))
}

// withoutLayer kills a manager before it creates the task's layer.
func withoutLayer(t *testing.T, e *podEnv) {
	t.Helper()
	e.killAt(t, crashScenarioOf("first task of a pod"), "make layer")
}

// leftovers creates a pod without tasks, and a root, a layer and a directory of removed tasks.
func leftovers(t *testing.T, e *podEnv) {
	t.Helper()
	config := e.config()
	config.Linger = maxWait
	m := pod.New(config)
	c, err := m.Start(t.Context(), e.task())
	must.NoError(t, err)
	must.NoError(t, c.Destroy(t.Context(), true))
	must.NoError(t, m.Close())
	must.NoError(t, os.MkdirAll(e.path("data/roots/gone/etc"), 0o755))
	must.NoError(t, os.MkdirAll(e.path("run/pods/"+e.Alloc+"/tasks/gone/files"), 0o755))
	e.withImage(t, func(store *image.Store, img image.Image) {
		_, err = store.Mount(t.Context(), "gone", img)
		must.NoError(t, err)
	})
}

// pulledImage puts an image into the store.
func pulledImage(t *testing.T, e *podEnv) {
	t.Helper()
	e.withImage(t, func(*image.Store, image.Image) {})
}

func (e *podEnv) withImage(t *testing.T, use func(*image.Store, image.Image)) {
	t.Helper()
	store, err := image.Open(e.config().Images)
	must.NoError(t, err)
	ref, err := e.reference()
	must.NoError(t, err)
	img, err := store.Ensure(t.Context(), ref, image.PullOptions{})
	must.NoError(t, err)
	use(store, img)
	must.NoError(t, store.Close())
}

// run runs a scenario's actions with a new manager and repeats each that fails once. It reports
// when an action begins ("start begun") and succeeds ("start done").
func (s crashScenario) run(e *podEnv, before func(checkpoint string) error, report func(string)) (err error) {
	config := e.config()
	if s.config != nil {
		s.config(&config)
	}
	var failed atomic.Bool
	count := newCounter()
	config.Before = func(checkpoint string) error {
		err := before(count(checkpoint))
		if err != nil {
			failed.Store(true)
		}
		return err
	}
	m := pod.New(config)
	defer func() { err = errors.Join(err, m.Close()) }()
	for _, a := range s.actions {
		report(a.name + " begun")
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		if err := a.do(ctx, e, m, failed.Load); err != nil {
			if err := a.do(ctx, e, m, failed.Load); err != nil {
				return fmt.Errorf("%s, again: %w", a.name, err)
			}
		}
		report(a.name + " done")
	}
	return nil
}

// newCounter returns a function that numbers repeated checkpoints: "name", "name (2)", …
func newCounter() func(checkpoint string) string {
	var mu sync.Mutex
	times := map[string]int{}
	return func(checkpoint string) string {
		mu.Lock()
		defer mu.Unlock()
		if times[checkpoint]++; times[checkpoint] > 1 {
			return fmt.Sprintf("%s (%d)", checkpoint, times[checkpoint])
		}
		return checkpoint
	}
}

var errMadeToFail = errors.New("made to fail")

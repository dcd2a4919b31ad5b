package driver_test

import (
	"context"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// tally is what is printed at the end.
type tally struct{ failed, killed []string }

// everywhere has each step failed and killed at in every scenario that has it,
// in place of the first one only. It takes minutes (make soak).
func everywhere() bool { return os.Getenv("POD_TEST_STEPS") == "all" }

// kindsOf returns what happens at a step: it is failed with one runtime and
// killed at with the other, or both with each if it is so everywhere.
func kindsOf(step, runtime string) []string {
	if everywhere() {
		return []string{"fail", "kill"}
	}
	hash := fnv.New32()
	_, _ = hash.Write([]byte(step))
	if (hash.Sum32()%2 == 0) == (filepath.Base(runtime) == "crun") {
		return []string{"fail"}
	}
	return []string{"kill"}
}

// TestCrash_EveryCheckpoint injects a failure and a kill at each checkpoint of a start, a stop, a
// removal, a recovery and a sweep. After each, the task can be recovered or started again with the
// same id, no other task is affected, and nothing is left behind.
func TestCrash_EveryCheckpoint(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		leakcheck.Check(t, scope())
		w := newWorld(t, runtime)
		shared := uuid.Generate()
		w.accompany(t, uuid.Generate())
		w.accompany(t, shared)
		seen, played := map[string]*tally{}, 0
		for _, s := range crashScenarios() {
			t.Run(s.name, func(t *testing.T) {
				at := *w
				if s.alone {
					at = *newWorld(t, runtime)
				}
				at.Plain, at.NoOverlay, at.Enlarges, at.Dying = s.plain || s.joins, s.noOverlay, s.enlarges, s.dying
				if s.joins {
					at.Alloc = shared
				}
				at.everyStep(t, s, seen)
				played++
			})
		}
		t.Log(table(seen))
		if played < len(crashScenarios()) {
			return // only some were asked for
		}
		must.Eq(t, "", strings.Join(missing(t, seen), ", "), must.Sprint("steps that no scenario comes to"))
	})
}

// everyStep finds out which steps a scenario has, and plays it once for each
// with a failure and once with a kill.
func (w *world) everyStep(t *testing.T, s crashScenario, seen map[string]*tally) {
	w.withImage(t, func(*image.Store, image.Image) {}) // what is kept is there then
	must.NoError(t, w.mend(t.Context(), nil))
	if s.prepare != nil {
		s.prepare(t, w)
	}
	steps := w.record(t, s)
	must.NoError(t, w.mend(t.Context(), nil))
	before, layers := w.snapshot(t), w.layers(t)
	for _, step := range s.own(steps) {
		if seen[step] != nil && !everywhere() {
			continue
		}
		if seen[step] == nil {
			seen[step] = &tally{}
		}
		for _, kind := range kindsOf(step, w.Runtime) {
			ok := t.Run(kind+"/"+step, func(t *testing.T) {
				if s.prepare != nil {
					s.prepare(t, w)
				}
				var journal []string
				if kind == "kill" {
					journal = w.killAt(t, s, step)
					seen[step].killed = append(seen[step].killed, s.name)
				} else {
					journal = w.failAt(t, s, step)
					seen[step].failed = append(seen[step].failed, s.name)
				}
				must.NoError(t, w.mend(t.Context(), journal))
				w.settle(t, before)
				must.SliceContainsSubset(t, layers, w.layers(t))
			})
			if !ok { // the next step begins with what this one left
				w.mop(t)
				before, layers = w.snapshot(t), w.layers(t)
			}
		}
	}
}

// own are those of the steps that no other scenario has.
func (s crashScenario) own(steps []string) []string {
	if i := slices.Index(steps, s.until); i >= 0 {
		steps = steps[:i]
	}
	return steps[max(0, slices.Index(steps, s.from)):]
}

func (w *world) record(t *testing.T, s crashScenario) []string {
	t.Helper()
	if s.prepare == nil {
		// The collector of an earlier play may be about to end.
		collector := cgroup.At(w.Cgroups, "/nomad-driver-pod/logs")
		for deadline := time.Now().Add(maxWait); collector.Exists() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond) // between two looks
		}
	}
	var mu sync.Mutex
	var steps []string
	must.NoError(t, s.play(w, func(step string) error {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, step)
		return nil
	}, func(string) {}))
	return steps
}

// failAt plays a scenario in which a step fails the first time.
func (w *world) failAt(t *testing.T, s crashScenario, step string) (journal []string) {
	t.Helper()
	var once sync.Once
	failed := false
	err := s.play(w, func(name string) (err error) {
		if name == step {
			once.Do(func() { failed, err = true, errMadeToFail })
		}
		return err
	}, func(line string) { journal = append(journal, line) })
	must.NoError(t, err)
	must.True(t, failed, must.Sprint("it did not come to the step"))
	return journal
}

func (w *world) scope() leakcheck.Scope {
	s := scope()
	s.Dirs = []string{w.path("run/pods"), w.path("run/runtime"), w.path("data/roots"), w.path("data/images/tmp")}
	return s
}

// layers are the directories that the image store has for layers, but for that
// of links, whose names are different each time.
func (w *world) layers(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(w.path("data/images/overlay"))
	must.NoError(t, err)
	for _, e := range entries {
		if e.Name() != "l" {
			names = append(names, e.Name())
		}
	}
	return names
}

func (w *world) snapshot(t *testing.T) leakcheck.Snapshot {
	t.Helper()
	s, err := w.scope().Snapshot()
	must.NoError(t, err)
	return s
}

// dropRuntimeCopies unmounts and removes the copies of itself that crun makes in
// /tmp if it is not executed from a sealed one, as behind a script. A crun that
// is killed, also by a start that fails, leaves them.
func (w *world) dropRuntimeCopies(t *testing.T, before leakcheck.Snapshot) {
	t.Helper()
	for _, left := range leakcheck.Diff(before, w.snapshot(t)) {
		path, _, _ := strings.Cut(left.Name, " (")
		if left.Kind == leakcheck.Mount && strings.HasPrefix(path, "/tmp/crun.") {
			_ = unix.Unmount(path, unix.MNT_DETACH) // it may just have ended
			_ = os.Remove(path)
		}
	}
}

func (w *world) settle(t *testing.T, before leakcheck.Snapshot) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(leakcheck.SettleTime()); time.Now().Before(deadline); {
		w.dropRuntimeCopies(t, before)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err = w.scope().Settle(ctx, before)
		if cancel(); err == nil {
			return
		}
	}
	must.NoError(t, err)
}

// mop cleans up after a failure, so that the next step is not to blame.
func (w *world) mop(t *testing.T) { _ = w.mend(context.Background(), nil) }

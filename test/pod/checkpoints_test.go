package pod_test

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
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// checkpointRuns lists the scenarios that failed or were killed at a checkpoint.
type checkpointRuns struct{ failed, killed []string }

// everyScenario reports whether to test a checkpoint in every scenario that reaches it, and not
// only in the first one. This takes minutes (make soak).
func everyScenario() bool { return os.Getenv("POD_TEST_STEPS") == "all" }

// faultsAt returns the faults to inject at a checkpoint: both with everyScenario, otherwise
// "fail" with one runtime and "kill" with the other.
func faultsAt(checkpoint, runtime string) []string {
	if everyScenario() {
		return []string{"fail", "kill"}
	}
	hash := fnv.New32()
	_, _ = hash.Write([]byte(checkpoint))
	if (hash.Sum32()%2 == 0) == (filepath.Base(runtime) == "crun") {
		return []string{"fail"}
	}
	return []string{"kill"}
}

// TestCrash_EveryCheckpoint injects a failure and a kill at each checkpoint of a start, a stop, a
// removal, a recovery and a sweep. After each, the task can be recovered or started again with the
// same id, no other task is affected, and nothing is left behind.
func TestCrash_EveryCheckpoint(t *testing.T) {
	matrix.WithBoth(t, func(t *testing.T, runtime string) {
		leakcheck.Check(t, leakcheck.Driver())
		e := newPodEnv(t, runtime)
		shared := uuid.Generate()
		e.startCompanion(t, uuid.Generate())
		e.startCompanion(t, shared)
		seen, ran := map[string]*checkpointRuns{}, 0
		for _, s := range crashScenarios() {
			t.Run(s.name, func(t *testing.T) {
				at := *e
				if s.noCompanions {
					at = *newPodEnv(t, runtime)
				}
				at.NoImage, at.NoOverlay, at.EnlargesShm, at.FailsLiveness = s.noImage || s.sharedPod, s.noOverlay, s.enlargesShm, s.failsLiveness
				if s.sharedPod {
					at.Alloc = shared
				}
				at.testCheckpoints(t, s, seen)
				ran++
			})
		}
		t.Log(table(seen))
		if ran < len(crashScenarios()) {
			return // -run selects some scenarios only
		}
		must.Eq(t, "", strings.Join(missing(t, seen), ", "), must.Sprint("checkpoints that no scenario reaches"))
	})
}

// testCheckpoints records the checkpoints of a scenario and runs the scenario once for each fault
// at each checkpoint.
func (e *podEnv) testCheckpoints(t *testing.T, s crashScenario, seen map[string]*checkpointRuns) {
	e.withImage(t, func(*image.Store, image.Image) {}) // pull before the snapshot: images are kept
	must.NoError(t, e.recoverAndRemove(t.Context(), nil))
	if s.prepare != nil {
		s.prepare(t, e)
	}
	checkpoints := e.record(t, s)
	must.NoError(t, e.recoverAndRemove(t.Context(), nil))
	before, layers := e.snapshot(t), e.layers(t)
	for _, checkpoint := range s.ownCheckpoints(checkpoints) {
		if seen[checkpoint] != nil && !everyScenario() {
			continue
		}
		if seen[checkpoint] == nil {
			seen[checkpoint] = &checkpointRuns{}
		}
		for _, kind := range faultsAt(checkpoint, e.Runtime) {
			ok := t.Run(kind+"/"+checkpoint, func(t *testing.T) {
				if s.prepare != nil {
					s.prepare(t, e)
				}
				var journal []string
				if kind == "kill" {
					journal = e.killAt(t, s, checkpoint)
					seen[checkpoint].killed = append(seen[checkpoint].killed, s.name)
				} else {
					journal = e.failAt(t, s, checkpoint)
					seen[checkpoint].failed = append(seen[checkpoint].failed, s.name)
				}
				must.NoError(t, e.recoverAndRemove(t.Context(), journal))
				e.settle(t, before)
				must.SliceContainsSubset(t, layers, e.layers(t))
			})
			if !ok { // start the next run from a clean state
				e.cleanUp(t)
				before, layers = e.snapshot(t), e.layers(t)
			}
		}
	}
}

// ownCheckpoints returns the checkpoints from s.from to before s.until.
func (s crashScenario) ownCheckpoints(checkpoints []string) []string {
	if i := slices.Index(checkpoints, s.until); i >= 0 {
		checkpoints = checkpoints[:i]
	}
	return checkpoints[max(0, slices.Index(checkpoints, s.from)):]
}

func (e *podEnv) record(t *testing.T, s crashScenario) []string {
	t.Helper()
	if s.prepare == nil {
		// The log collector of an earlier run may be exiting.
		collector := cgroup.At(e.Cgroups, "/nomad-driver-pod/logs")
		for deadline := time.Now().Add(maxWait); collector.Exists() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond) // poll interval
		}
	}
	var mu sync.Mutex
	var checkpoints []string
	must.NoError(t, s.run(e, func(checkpoint string) error {
		mu.Lock()
		defer mu.Unlock()
		checkpoints = append(checkpoints, checkpoint)
		return nil
	}, func(string) {}))
	return checkpoints
}

// failAt runs a scenario in which a checkpoint fails the first time, and returns its reports.
func (e *podEnv) failAt(t *testing.T, s crashScenario, checkpoint string) (journal []string) {
	t.Helper()
	var once sync.Once
	failed := false
	err := s.run(e, func(name string) (err error) {
		if name == checkpoint {
			once.Do(func() { failed, err = true, errMadeToFail })
		}
		return err
	}, func(line string) { journal = append(journal, line) })
	must.NoError(t, err)
	must.True(t, failed, must.Sprint("checkpoint was not reached"))
	return journal
}

func (e *podEnv) scope() leakcheck.Scope {
	s := leakcheck.Driver()
	s.Dirs = []string{e.path("run/pods"), e.path("run/runtime"), e.path("data/roots"), e.path("data/images/tmp")}
	return s
}

// layers returns the names of the layers in the image store. It skips the directory of short links,
// which has random names.
func (e *podEnv) layers(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(e.path("data/images/overlay"))
	must.NoError(t, err)
	for _, entry := range entries {
		if entry.Name() != "l" {
			names = append(names, entry.Name())
		}
	}
	return names
}

func (e *podEnv) snapshot(t *testing.T) leakcheck.Snapshot {
	t.Helper()
	s, err := e.scope().Snapshot()
	must.NoError(t, err)
	return s
}

// dropRuntimeCopies unmounts and removes the copies of itself that crun creates in /tmp unless it
// runs from a sealed copy, for example behind a wrapper script. A killed crun leaves them behind.
func (e *podEnv) dropRuntimeCopies(t *testing.T, before leakcheck.Snapshot) {
	t.Helper()
	for _, left := range leakcheck.Diff(before, e.snapshot(t)) {
		path, _, _ := strings.Cut(left.Name, " (")
		if left.Kind == leakcheck.Mount && strings.HasPrefix(path, "/tmp/crun.") {
			_ = unix.Unmount(path, unix.MNT_DETACH) // crun may have removed it
			_ = os.Remove(path)
		}
	}
}

func (e *podEnv) settle(t *testing.T, before leakcheck.Snapshot) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(leakcheck.SettleTime()); time.Now().Before(deadline); {
		e.dropRuntimeCopies(t, before)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err = e.scope().Settle(ctx, before)
		if cancel(); err == nil {
			return
		}
	}
	must.NoError(t, err)
}

// cleanUp removes the leftovers of a failed run, so that they do not fail the next one.
func (e *podEnv) cleanUp(t *testing.T) { _ = e.recoverAndRemove(context.Background(), nil) }

package pod_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// TestRunsc_Killed injects a failure or a kill of the plugin at checkpoints, drawn at random, of a
// gVisor pod while another one runs.
func TestRunsc_Killed(t *testing.T) {
	runtime := matrix.Command(t, "runc") // may start a process that remains
	leakcheck.Check(t, leakcheck.Driver())
	e := newPodEnv(t, runtime)
	e.Gvisor = matrix.GvisorRuntime(t)
	e.startCompanion(t, uuid.Generate())
	s := crashScenarioOf("first task of a pod")
	e.withImage(t, func(*image.Store, image.Image) {})
	checkpoints := slices.Compact(slices.Sorted(slices.Values(e.record(t, s))))
	must.SliceContains(t, checkpoints, "run infra process (2)")
	must.NoError(t, e.recoverAndRemove(t.Context(), nil))
	rand.Shuffle(len(checkpoints), func(i, j int) { checkpoints[i], checkpoints[j] = checkpoints[j], checkpoints[i] })
	sample := 6
	if matrix.All() {
		sample = len(checkpoints)
	}
	seen := map[string]*checkpointRuns{}
	for _, skipped := range checkpoints[min(sample, len(checkpoints)):] {
		if skipped != "run infra process" && skipped != "start program" {
			seen[skipped] = &checkpointRuns{}
		}
	}
	e.testCheckpoints(t, s, seen)
}

package pod_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// TestUserns_Killed injects a failure or a kill of the plugin at checkpoints, drawn at random, of a
// pod with a user namespace. A pod that runs meanwhile keeps its ids, no other has them, and
// none are lost.
func TestUserns_Killed(t *testing.T) {
	leakcheck.Check(t, leakcheck.Driver())
	e := newPodEnv(t, matrix.UsernsRuntime(t))
	e.Userns = true
	sandbox.LetAllEnter(t, e.path("run"))
	e.startCompanion(t, uuid.Generate())
	s := crashScenarioOf("first task of a pod")
	e.withImage(t, func(*image.Store, image.Image) {})
	checkpoints := slices.Compact(slices.Sorted(slices.Values(e.record(t, s))))
	must.SliceContains(t, checkpoints, "pin user")
	must.NoError(t, e.recoverAndRemove(t.Context(), nil))
	seen := map[string]*checkpointRuns{}
	rand.Shuffle(len(checkpoints), func(i, j int) { checkpoints[i], checkpoints[j] = checkpoints[j], checkpoints[i] })
	sample := 8
	if matrix.All() {
		sample = len(checkpoints)
	}
	for _, skipped := range checkpoints[min(sample, len(checkpoints)):] {
		if skipped != "pin user" && skipped != "remove pod directory" {
			seen[skipped] = &checkpointRuns{}
		}
	}
	e.testCheckpoints(t, s, seen)
	records, err := filepath.Glob(e.path("run/userns/*"))
	must.NoError(t, err)
	must.Len(t, 1, records, must.Sprint("only the other pod is left"))
	owner, err := os.Readlink(records[0])
	must.NoError(t, err)
	must.Eq(t, e.Companions[0].Alloc, owner)
	uids, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", e.Companions[0].Init.PID))
	must.NoError(t, err)
	must.SliceContains(t, strings.Fields(string(uids)), filepath.Base(records[0]))
}

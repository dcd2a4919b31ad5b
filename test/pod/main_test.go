// Package pod_test tests driver/pod without the plugin: it injects faults and kills at checkpoints of
// a task's life, and hangs the programs that the driver runs. Tests of the plugin are in test/driver.
package pod_test

import (
	"os"
	"testing"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) {
	if pod.Reexec() || runChild() {
		return
	}
	os.Exit(sandbox.Main(m))
}

// maxWait bounds every wait. No passing test reaches it.
var maxWait = testtimeout.Scale(30 * time.Second)

package driver

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// TestTrace_LogLine checks the line that programs parse. It is logged only at level TRACE.
func TestTrace_LogLine(t *testing.T) {
	for level, want := range map[hclog.Level]string{
		hclog.Trace: "started: task_id=a " + TraceKey + "=\"join:1.5ms,create:20ms,+root:3ms\"\n",
		hclog.Debug: "",
	} {
		var out bytes.Buffer
		d := New(hclog.New(&hclog.LoggerOptions{Level: level, Output: &out, DisableTime: true}))
		d.trace("a", []pod.Phase{
			{Name: "join", Took: 1500 * time.Microsecond}, {Name: "create", Took: 20 * time.Millisecond},
			{Name: "root", Took: 3 * time.Millisecond, Parallel: true},
		})
		logged := out.String() // read before Close, which makes Nomad's event loop log
		must.NoError(t, d.Close())
		must.StrHasSuffix(t, want, logged)
		must.Eq(t, want == "", logged == "")
	}
}

package e2e

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// TestInject_HCLEqualsJSON checks that Nomad treats the outputs in HCL and JSON as the same job.
func TestInject_HCLEqualsJSON(t *testing.T) {
	t.Parallel()
	c := shareAgent(t, "crun")
	c.run(inject(t, webJob), api.AllocClientStatusRunning)

	var wrapped struct{ Job *api.Job }
	text := []byte(inject(t, "-out", "json", webJob))
	must.NoError(t, json.Unmarshal(text, &wrapped))
	job := wrapped.Job
	if job == nil {
		must.NoError(t, json.Unmarshal(text, &job))
	}
	plan, _, err := c.Client().Jobs().Plan(job, true, nil)
	must.NoError(t, err)
	must.Eq(t, "None", plan.Diff.Type, must.Sprintf("%+v", plan.Diff))
}

// TestInject_NoChoice checks that injection without sidecars does not change the file.
func TestInject_NoChoice(t *testing.T) {
	const file = "testdata/counter.nomad.hcl"
	source, err := os.ReadFile(file)
	must.NoError(t, err)
	must.Eq(t, string(source), inject(t, file))
}

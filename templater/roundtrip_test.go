package templater_test

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	"pgregory.net/rapid"
)

// canonical is a job in JSON as Nomad stores and gives it: every default is written
// out, empty containers are null, and fields are in the order of its types.
func canonical(t must.T, raw []byte) []byte {
	var request struct{ Job *api.Job }
	must.NoError(t, json.Unmarshal(raw, &request))
	request.Job.Canonicalize()
	out, err := json.Marshal(request.Job)
	must.NoError(t, err)
	return append(append([]byte(`{"Job":`), out...), '}')
}

// A job that was read from Nomad, by its UI for instance, and comes back, says where
// its sidecars are from, and nothing but the job itself is needed for it.
// Trap I15.
func TestMarks_SurviveNomad(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		flags := drawFlags(t)
		raw, diags := parseHCL(t, []byte(drawJob(t, false))).JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		injected := canonical(t, inject(t, parseJSON(t, raw, c), c, flags))

		stored := parseJSON(t, injected, c)
		equal(t, decode(t, canonical(t, raw)), decode(t, canonical(t, apply(t, stored, nil))))
		again := inject(t, stored, c, flags)
		equal(t, decode(t, injected), decode(t, canonical(t, again)))
	})
}

package fleet

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// composing returns a catalog of a sidecar with an output and one that takes it.
func composing(t *testing.T, giver string) *Rules {
	t.Helper()
	catalog := &sidecar.Catalog{}
	diags := catalog.Load(fstest.MapFS{
		"gives.sidecar.hcl": {Data: []byte("sidecar \"gives\" {\n" + giver + "\n  task \"gives\" {\n    driver = \"pod\"\n  }\n}\n")},
		"takes.sidecar.hcl": {Data: []byte("sidecar \"takes\" {\n  version = \"1.0.0\"\n  parameter \"a\" {\n    type = string\n  }\n  task \"takes\" {\n    driver = \"pod\"\n    env {\n      A = param.a\n    }\n  }\n}\n")},
	}, "")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return &Rules{Catalog: catalog}
}

const giving = "  version = \"1.0.0\"\n  output \"port\" {\n    value = 1\n  }"

// A job with a sidecar that a flag chose says why its outputs are not known.
func TestInspect_OutputOfKeptSidecar(t *testing.T) {
	r := composing(t, giving)
	doc, diags := opener(app("a", `"sidecar.inject":"takes","sidecar.takes.a":"${sidecar.gives.port}"`), "a", r.Catalog)(nil)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	in, diags := templater.Inject(doc, r.Catalog, templater.Flags{With: []*job.Request{{Sidecar: "gives"}}})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	got, err := r.Inspect(in.Output)
	must.NoError(t, err)
	must.Len(t, 1, got.Problems)
	must.StrContains(t, got.Problems[0], `group "g" keeps sidecar "gives" as a flag chose it earlier, and its outputs are not known`)
}

// Deprecated sidecars are warnings about a job, also those that a flag chose, and of its upgrade.
func TestInspect_Deprecated(t *testing.T) {
	one := composing(t, giving)
	old := composing(t, giving+"\n  deprecated = \"Use other.\"")
	const warning = `In group "g": Sidecar "gives" 1.0.0 is deprecated: Use other.`
	raw := injected(t, one, app("a", `"sidecar.inject":"gives"`))
	got, err := old.Inspect(raw)
	must.NoError(t, err)
	must.Eq(t, []string{warning}, got.Warnings)
	got, err = old.Inspect(bytes.ReplaceAll(bytes.Replace(raw, []byte(`"sidecar.inject":"gives"`), nil, 1), []byte(`"sidecar.origin":"meta"`), []byte(`"sidecar.origin":"flag"`)))
	must.NoError(t, err)
	must.Eq(t, []string{warning}, got.Warnings)
	got, err = one.Inspect(raw)
	must.NoError(t, err)
	must.SliceEmpty(t, got.Warnings)

	c := newCluster()
	c.put(app("a", `"sidecar.inject":"gives"`))
	scan := &Scan{Nomad: c, Rules: old}
	jobs, err := scan.Run(t.Context())
	must.NoError(t, err)
	steps, err := (&Planner{Nomad: c, Rules: old}).Plan(t.Context(), jobs)
	must.NoError(t, err)
	must.Len(t, 1, steps)
	must.Eq(t, []string{warning}, steps[0].Warnings, must.Sprintf("%+v", steps[0]))
}

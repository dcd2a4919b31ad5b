package fleet

import (
	"bytes"
	"strings"
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
		"last.sidecar.hcl":  {Data: []byte("sidecar \"last\" {\n  version = \"1.0.0\"\n  task \"last\" {\n    driver = \"pod\"\n    env {\n      A = sidecar.takes.a\n    }\n  }\n}\n")},
		"takes.sidecar.hcl": {Data: []byte("sidecar \"takes\" {\n  version = \"1.0.0\"\n  parameter \"a\" {\n    type = string\n  }\n  output \"a\" {\n    value = param.a\n  }\n  task \"takes\" {\n    driver = \"pod\"\n    env {\n      A = param.a\n    }\n  }\n}\n")},
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

// A sidecar whose provider has another definition now is changed, not edited, and the output is named.
func TestInspect_OutputChanged(t *testing.T) {
	r := composing(t, giving)
	raw := injected(t, r, app("a", `"sidecar.inject":"gives,takes,last","sidecar.takes.a":"${sidecar.gives.port}"`))
	states := func(r *Rules, raw []byte) map[string]*Sidecar {
		got, err := r.Inspect(raw)
		must.NoError(t, err)
		must.SliceEmpty(t, got.Problems)
		out := map[string]*Sidecar{}
		for _, s := range got.Sidecars() {
			out[s.Name] = s
		}
		return out
	}
	must.Eq(t, StateOK, states(r, raw)["takes"].State)
	for state, giver := range map[string]string{
		StateChanged:  strings.Replace(giving, "value = 1", "value = 2", 1),
		StateOutdated: strings.NewReplacer("value = 1", "value = 2", "1.0.0", "1.1.0").Replace(giving),
	} {
		got := states(composing(t, giver), raw)
		must.Eq(t, state, got["gives"].State)
		must.Eq(t, StateChanged, got["takes"].State)
		must.Eq(t, "sidecar.gives.port", got["takes"].Output)
		must.StrContains(t, got["takes"].Reason, "sidecar.gives.port")
		must.False(t, got["takes"].Edited)
		must.Eq(t, "sidecar.takes.a", got["last"].Output)
	}
	must.Eq(t, StateEdited, states(r, bytes.ReplaceAll(raw, []byte(`"A":"1"`), []byte(`"A":"3"`)))["takes"].State)
}

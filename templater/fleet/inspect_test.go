package fleet

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// only is the one sidecar of a job.
func only(t *testing.T, r *Rules, raw []byte) *Sidecar {
	t.Helper()
	job, err := r.Inspect(raw)
	must.NoError(t, err)
	must.Len(t, 1, job.Sidecars(), must.Sprint(job.Problems))
	return job.Sidecars()[0]
}

func injected(t *testing.T, r *Rules, raw []byte) []byte {
	t.Helper()
	out, diags := r.inject(raw, "job")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return out
}

func TestStates(t *testing.T) {
	one, both := rulesOf(t, "1.0.0"), rulesOf(t, "1.0.0", "1.1.0")
	old := injected(t, one, app("a", ""))
	replaced := func(from, to string) []byte {
		must.StrContains(t, string(old), from)
		return bytes.Replace(old, []byte(from), []byte(to), 1)
	}
	withoutPolicy := &Rules{Catalog: both.Catalog}
	for name, c := range map[string]struct {
		rules *Rules
		raw   []byte
		state string
		needs string
	}{
		"as it should be":            {one, old, StateOK, ""},
		"a newer one":                {both, old, StateOutdated, ""},
		"a newer one, edited too":    {both, replaced(`"V":"1.0.0"`, `"V":"mine"`), StateOutdated, ""},
		"edited":                     {one, replaced(`"V":"1.0.0"`, `"V":"mine"`), StateEdited, ""},
		"something more":             {one, replaced(`"V":"1.0.0"`, `"V":"1.0.0","W":""`), StateEdited, ""},
		"other marks":                {one, replaced(`"sidecar.digest":"sha256:`, `"sidecar.digest":"`), StateDoubtful, ""},
		"a digest of nobody's":       {one, replaced(`"sidecar.digest":"sha256:`, `"sidecar.digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","x":"`), StateChanged, ""},
		"chosen by a block":          {withoutPolicy, replaced(`"sidecar.origin":"policy"`, `"sidecar.origin":"block"`), StateOutdated, NeedsSource},
		"without its policy":         {withoutPolicy, old, StateOutdated, NeedsPolicy},
		"meta chose it":              {withoutPolicy, replaced(`"sidecar.origin":"policy"`, `"sidecar.origin":"meta"`), StateUnwanted, NeedsSource},
		"the policy has no such":     {&Rules{one.Catalog, &policy.Policy{}}, old, StateUnwanted, ""},
		"not there":                  {one, app("a", ""), StateMissing, ""},
		"chosen in a way that fails": {one, app("a", `"sidecar.beside.nothing":"x"`), StateMissing, ""},
	} {
		s := only(t, c.rules, c.raw)
		must.Eq(t, c.state, s.State, must.Sprintf("%s: %+v", name, s))
		must.Eq(t, c.needs, s.Needs, must.Sprint(name))
	}
	must.True(t, only(t, both, replaced(`"V":"1.0.0"`, `"V":"mine"`)).Edited)
}

// A parameter that the new version wants keeps the sidecar from being chosen, and not
// from being wanted.
func TestAChoiceThatFailsIsNoUnwantedSidecar(t *testing.T) {
	files := fstest.MapFS{"b.sidecar.hcl": &fstest.MapFile{Data: []byte("sidecar \"beside\" {\n  version = \"2.0.0\"\n  parameter \"must\" {\n    type = string\n  }\n  task \"beside\" {\n    driver = \"pod\"\n  }\n}\n")}}
	one := rulesOf(t, "1.0.0")
	old := injected(t, one, app("a", ""))
	catalog := &sidecar.Catalog{}
	must.False(t, catalog.Load(files, "").HasErrors())
	rules := &Rules{catalog, one.Policy}
	job, err := rules.Inspect(old)
	must.NoError(t, err)
	must.Eq(t, StateOutdated, job.Sidecars()[0].State)
	must.Len(t, 1, job.Problems)
	must.StrContains(t, job.Problems[0], "must")
}

func TestActivity(t *testing.T) {
	for text, want := range map[string]string{
		`"Status":"running","TaskGroups":[{"Name":"g","Count":1}]`:                 Running,
		`"Status":"running","TaskGroups":[{"Name":"g","Count":0}]`:                 ScaledOff,
		`"Status":"running","Type":"system","TaskGroups":[{"Name":"g","Count":0}]`: Running,
		`"Status":"dead","Stop":true`:                                              Stopped, `"Status":"dead"`: Dead, `"Status":"pending","TaskGroups":[{"Name":"g"}]`: Pending,
	} {
		job, err := rulesOf(t, "1.0.0").Inspect([]byte(`{"ID":"a","Namespace":"n",` + text + `}`))
		must.NoError(t, err)
		must.Eq(t, want, job.Activity, must.Sprint(text))
	}
}

func TestWhatIsHardlyAJob(t *testing.T) {
	rules := rulesOf(t, "1.0.0")
	_, err := rules.Inspect([]byte(`[]`))
	must.Error(t, err)
	for _, text := range []string{`{}`, `{"ID":"a","TaskGroups":[null,{},{"Name":null,"Tasks":[null,{}]}]}`} {
		_, err := rules.Inspect([]byte(text))
		must.NoError(t, err, must.Sprint(text))
	}
}

func TestFilter(t *testing.T) {
	job := func() *Job {
		return &Job{Groups: []*Group{{Name: "g", Sidecars: []*Sidecar{{Name: "x", State: StateOK}, {Name: "y", State: StateOutdated, Edited: true}}}, {Name: "h"}}}
	}
	for _, c := range []struct {
		filter Filter
		left   int
	}{
		{Filter{}, 2}, {Filter{Sidecars: []string{"x"}}, 1}, {Filter{States: []string{StateEdited}}, 1},
		{Filter{Sidecars: []string{"x"}, States: []string{StateOutdated}}, 0},
	} {
		j := job()
		must.Eq(t, c.left > 0, c.filter.Narrow(j))
		must.Len(t, c.left, j.Sidecars())
	}
	must.True(t, Filter{Sidecars: []string{"z"}}.Narrow(&Job{Unreadable: true}))
}

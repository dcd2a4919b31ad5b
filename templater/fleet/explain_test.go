package fleet

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// told is the one explanation of a job.
func told(t *testing.T, r *Rules, raw []byte) (*Explained, *templater.Explanation) {
	t.Helper()
	out, err := r.Explain(raw)
	must.NoError(t, err)
	must.Len(t, 1, out.Told)
	return out, out.Told[0]
}

func TestAStoredJobIsExplained(t *testing.T) {
	rules := rulesOf(t, "1.0.0")
	job, e := told(t, rules, injected(t, rules, app("a", "")))
	must.Eq(t, templater.StateChosen, e.State)
	must.Eq(t, templater.OriginPolicy, e.Sources[0].Origin)
	must.Eq(t, "p.policy.hcl", e.Sources[0].Range.Filename)
	must.Len(t, 1, job.Totals)
	must.Eq(t, 1, job.Totals[0].Tasks)

	// Where meta of a stored job stands is of no use to anybody.
	_, e = told(t, &Rules{Catalog: rules.Catalog}, app("a", `"sidecar.inject":"beside"`))
	must.Eq(t, []templater.Source{{Origin: templater.OriginMeta}}, e.Sources)
}

func TestMarksExplainWhatNothingChooses(t *testing.T) {
	rules := rulesOf(t, "1.0.0")
	raw := bytes.Replace(injected(t, rules, app("a", "")), []byte(`"sidecar.origin":"policy"`), []byte(`"sidecar.origin":"block"`), 1)
	_, e := told(t, &Rules{Catalog: rules.Catalog}, raw)
	must.Eq(t, templater.StateNotChosen, e.State)
	must.Eq(t, "version 1.0.0 is present, but nothing in the job or the policy chooses it; according to its marks it was chosen by block", e.Reason)

	_, e = told(t, &Rules{Catalog: rules.Catalog}, app("a", ""))
	must.Eq(t, "nothing chooses it", e.Reason)
}

func TestAWrongChoiceIsExplainedAsWrong(t *testing.T) {
	job, e := told(t, rulesOf(t, "1.0.0"), app("a", `"sidecar.beside.nothing":"x"`))
	must.Eq(t, templater.StateWrong, e.State)
	must.SliceEmpty(t, job.Totals)
	_, err := rulesOf(t, "1.0.0").Explain([]byte(`[]`))
	must.Error(t, err)
}

func TestSecretsOfAStoredJobAreNamed(t *testing.T) {
	catalog := &sidecar.Catalog{}
	must.False(t, catalog.Load(fstest.MapFS{"b.sidecar.hcl": &fstest.MapFile{Data: []byte("sidecar \"beside\" {\n  version = \"1.0.0\"\n  parameter \"key\" {\n    type      = string\n    sensitive = true\n  }\n  task \"beside\" {\n    driver = \"pod\"\n  }\n}\n")}}, "").HasErrors())
	job, e := told(t, &Rules{Catalog: catalog}, app("a", `"sidecar.inject":"beside","sidecar.beside.key":"s3cret"`))
	must.True(t, e.Parameters[0].Sensitive)
	must.SliceContains(t, job.Secrets, "s3cret")
}

package templater_test

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
)

// Trap I18.
func TestInject_TaskNameTaken(t *testing.T) {
	c := loadCatalog(t)
	for _, name := range []string{"viewer", "ports-init", "ports_init"} {
		f := parseHCL(t, []byte(strings.ReplaceAll(fullJob, `task "app"`, `task "`+name+`"`)))
		choices, diags := templater.Choose(f.Job(), c, with("viewer", "ports"))
		must.False(t, diags.HasErrors())
		_, diags = templater.Plan(f.Job(), choices)
		must.Len(t, 1, diags.Errs())
		must.StrContains(t, diags[0].Detail, `task "`+name+`" (job.hcl:`)
		must.StrContains(t, diags[0].Detail, `(catalog/`)
	}
}

// Trap I19.
func TestInject_ForgedMark(t *testing.T) {
	c := loadCatalog(t)
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, meta := range []string{
		`{"sidecar.name":"viewer"}`,
		`{"sidecar.name":"nosuch","sidecar.digest":"` + digest + `"}`,
		`{"sidecar.name":"ports","sidecar.digest":"` + digest + `"}`,
		`{"sidecar.name":"viewer","sidecar.digest":"` + digest + `","sidecar.added":"{\"env\":{\"app\":[\"SECRET\"]}}"}`,
	} {
		src := `{"ID":"j","TaskGroups":[{"Name":"g","Networks":[{"Mode":"bridge"}],"Tasks":[` +
			`{"Name":"app","Driver":"pod","Env":{"SECRET":"x"}},{"Name":"viewer","Driver":"pod","Meta":` + meta + `}]}]}`
		f := parseJSON(t, []byte(src), c)
		must.Len(t, 2, f.Job().Groups[0].Tasks)
		must.MapContainsKey(t, f.Job().Groups[0].Tasks[0].Env, "SECRET")
		keep, diags := templater.Reconcile(f.Marks(), nil, c, nil, false)
		must.True(t, keep)
		must.Len(t, 1, diags)
		must.Eq(t, "Doubtful marks", diags[0].Summary)
		choices, _ := templater.Choose(f.Job(), c, with("ports"))
		_, diags = templater.Plan(f.Job(), choices)
		must.Eq(t, "Task with sidecar marks", diags[0].Summary)
	}
}

// Trap I19.
func TestInject_StaleMark(t *testing.T) {
	c := loadCatalog(t)
	raw, diags := parseHCL(t, []byte(fullJob)).JSON()
	must.False(t, diags.HasErrors())
	fresh := inject(t, parseJSON(t, raw, c), c, with("viewer"))
	digest := c.Find("viewer").Digest
	stale := strings.ReplaceAll(string(fresh), digest, "sha256:"+strings.Repeat("a", 64))
	stale = strings.ReplaceAll(stale, `"Driver": "pod",
                        "Env": null`, `"Driver": "changed",
                        "Env": null`)
	must.NotEq(t, string(fresh), stale)
	must.Eq(t, string(fresh), string(inject(t, parseJSON(t, []byte(stale), c), c, with("viewer"))))
}

// Trap I21.
func TestInject_LookalikeTask(t *testing.T) {
	c := loadCatalog(t)
	raw, diags := parseHCL(t, []byte(fullJob)).JSON()
	must.False(t, diags.HasErrors())
	out := string(inject(t, parseJSON(t, raw, c), c, with("viewer")))
	for _, key := range []string{"name", "version", "digest", "origin", "added"} {
		out = strings.ReplaceAll(out, `"sidecar.`+key+`"`, `"mine.`+key+`"`)
	}
	f := parseJSON(t, []byte(out), c)
	must.Len(t, 2, f.Job().Groups[0].Tasks)
	must.Len(t, 0, f.Marks())
}

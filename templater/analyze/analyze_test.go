package analyze

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// trees returns a job as it is read from a file, and from the JSON that Nomad's parser makes of it.
func trees(t *testing.T, src string, vars ...string) (text, json *job.Node) {
	t.Helper()
	f, diags := hcljob.Parse([]byte(src), "job.hcl", hcljob.Inputs{Vars: vars})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	text, diags = f.Tree()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	raw, diags := f.JSON()
	if diags.HasErrors() {
		return text, nil // a variable has no value
	}
	j, diags := jsonjob.Parse(raw, "job.json", &sidecar.Catalog{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	json, diags = j.Tree()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return text, json
}

// told returns findings as text, without positions.
func told(all []Finding) []string {
	out := []string{}
	for _, f := range all {
		out = append(out, fmt.Sprintf("%s %s/%s %s", f.Code.ID, f.Group, f.Task, f.Text))
	}
	slices.Sort(out)
	return out
}

// only are settings without the given codes' infos, which most jobs have.
func only(code string) Settings {
	s := Settings{Severities: map[string]Severity{}, MemoryMB: 1000}
	for _, c := range Codes() {
		if c.ID != code {
			s.Severities[c.ID] = Off
		}
	}
	return s
}

// A case has the findings of its code in both forms, at its lines in HCL. The first half of each
// pair shows the fault, the other what must not be taken for it.
func TestJob(t *testing.T) {
	covered := map[string]bool{}
	for _, tc := range slices.Concat(networkCases(), taskCases(), podCases()) {
		covered[tc.code] = covered[tc.code] || len(tc.lines) > 0
		t.Run(tc.code+"/"+tc.name, func(t *testing.T) {
			_, ok := Find(tc.code)
			must.True(t, ok)
			src := tc.job
			if !strings.HasPrefix(src, "job") && !strings.HasPrefix(src, "variable") {
				src = "job \"j\" {\ngroup \"g\" {\n" + src + "\n}\n}\n"
			}
			text, json := trees(t, src)
			found := Job(text, nil, only(tc.code))
			var lines []int
			for _, f := range found {
				lines = append(lines, f.Range.Start.Line)
			}
			must.Eq(t, tc.lines, lines, must.Sprint(told(found)))
			if tc.says != "" {
				must.StrContains(t, found[0].Text, tc.says)
			}
			if json != nil {
				must.Eq(t, told(found), told(Job(json, nil, only(tc.code))))
			}
		})
	}
	for _, c := range Codes() {
		if !slices.Contains([]string{"NS1001", "NS1002", "NS1003"}, c.ID) { // see TestInjection
			must.True(t, covered[c.ID], must.Sprintf("%s has no case with a finding", c.ID))
		}
	}
}

func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Codes() {
		must.RegexMatch(t, regexpOf(`^NS1[0-9]{3}$`), c.ID)
		must.RegexMatch(t, regexpOf(`^[A-Z][A-Za-z]+$`), c.Name)
		must.False(t, seen[c.ID] || seen[c.Name], must.Sprint(c.ID))
		seen[c.ID], seen[c.Name] = true, true
		for _, text := range []string{c.Text, c.Fix, c.Why} {
			must.NotEq(t, "", text, must.Sprint(c.ID))
		}
		must.True(t, strings.HasSuffix(c.Fix, "."), must.Sprint(c.ID))
		must.True(t, strings.HasSuffix(c.Why, "."), must.Sprint(c.ID))
		must.Between(t, Info, c.Severity, Error)
	}
}

func TestSettings_Severity(t *testing.T) {
	text, _ := trees(t, `job "j" {
  group "g" {
    task "t" {
      driver = "docker"
      config { image = "redis" }
    }
  }
}`)
	must.Eq(t, Warning, Worst(Job(text, nil, Settings{})))
	must.Eq(t, Error, Worst(Job(text, nil, Settings{Severities: map[string]Severity{"NS1030": Error}})))
	must.Eq(t, Off, Worst(Job(text, nil, Settings{Severities: map[string]Severity{"NS1030": Off}})))
	_, err := ParseSeverity("fatal")
	must.ErrorContains(t, err, `"fatal" is not a severity: use error, warning, info or off`)
}

package templater_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// findings returns the findings of a job: as text for comparison, and by code. A job that Nomad
// cannot parse has none in JSON.
func (j corpusJob) findings(t *testing.T) (text, json []string, all []analyze.Finding) {
	t.Helper()
	src := j.text
	if !j.json {
		f, diags := hcljob.Parse(j.text, j.place, hcljob.Inputs{Vars: j.variables(), BaseDir: j.dir, AllowFS: true})
		if diags.HasErrors() {
			return nil, nil, nil
		}
		root, diags := f.Tree()
		must.False(t, diags.HasErrors(), must.Sprint(j.place, diags))
		all = analyze.Job(root, nil, analyze.Settings{})
		text = findingTexts(all)
		if hasUnknown(root) {
			return text, text, all // in JSON, everything is known
		}
		if src, diags = f.JSON(); diags.HasErrors() {
			return text, text, all
		}
	}
	f, diags := jsonjob.Parse(src, j.place, loadCatalog(t))
	must.False(t, diags.HasErrors(), must.Sprint(j.place, diags))
	root, diags := f.Tree()
	must.False(t, diags.HasErrors(), must.Sprint(j.place, diags))
	found := analyze.Job(root, nil, analyze.Settings{})
	json = findingTexts(found)
	if j.json {
		return json, json, found
	}
	return text, json, all
}

// hasUnknown reports whether a part of a job cannot be evaluated, such as a random value.
func hasUnknown(n *job.Node) bool {
	if len(n.More) > 0 || slices.ContainsFunc(n.Blocks, hasUnknown) {
		return true
	}
	for _, s := range n.Attrs {
		if s.Unknown != nil {
			return true
		}
	}
	return false
}

func findingTexts(all []analyze.Finding) []string {
	out := []string{}
	for _, f := range all {
		out = append(out, fmt.Sprintf("%s %s %s/%s %s", f.Code.ID, f.Severity, f.Group, f.Task, f.Text))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Every job in Nomad's source has the same findings as a file and as the JSON that Nomad's parser
// makes of it, and the same numbers of findings as ever. TEST_FINDINGS=FILE writes them all, with
// their places, for a person to check; TEST_JOBS=DIR adds job files.
func TestCorpusFindings(t *testing.T) {
	jobs := corpusJobs(t, nomadSource(t))
	t.Setenv("HOME", t.TempDir()) // one job reads a file there
	counts := map[string]int{}
	var list []string
	for _, j := range slices.Concat(jobs, jobsIn(t, os.Getenv("TEST_JOBS"))) {
		text, json, all := j.findings(t)
		test.Eq(t, text, json, test.Sprint(j.place))
		for _, f := range all {
			if !strings.HasPrefix(j.place, "/") {
				counts[f.Code.ID]++
			}
			list = append(list, fmt.Sprintf("%s %s:%d %s", f.Code.ID, j.place, f.Range.Start.Line, f.Text))
		}
	}
	if path := os.Getenv("TEST_FINDINGS"); path != "" {
		slices.Sort(list)
		must.NoError(t, os.WriteFile(path, []byte(strings.Join(list, "\n")+"\n"), 0o600))
	}
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%s %d", id, counts[id])
	}
	must.Eq(t, corpusFindings(), counts)
}

// jobsIn are the job files of a folder; none for "".
func jobsIn(t *testing.T, dir string) (jobs []corpusJob) {
	t.Helper()
	if dir == "" {
		return nil
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	must.NoError(t, err)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		must.NoError(t, err)
		jobs = append(jobs, corpusJob{place: path, dir: dir, text: raw, json: json.Valid(raw)})
	}
	return jobs
}

// corpusFindings are the findings in the jobs of Nomad 1.11.3, by code.
func corpusFindings() map[string]int {
	return map[string]int{
		"NS1010": 7, "NS1011": 13, "NS1013": 3, "NS1014": 1, "NS1015": 1, "NS1016": 1, "NS1018": 64, "NS1020": 4,
		"NS1023": 168, "NS1024": 2, "NS1030": 29, "NS1042": 3,
	}
}

package templater_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
)

// corpusExceptions are the jobs of Nomad 1.11.3 that do not go all the way, by the
// reason. A place not listed here has to keep every promise, and each one listed
// has to fail in the way that its reason tells.
func corpusExceptions() map[string][]string {
	return map[string][]string{
		loneTask: {
			"e2e/clientstate/sleeper.nomad", "e2e/taskevents/input/simple_batch.nomad",
			"website/content/docs/concepts/filesystem.mdx:144", "website/content/docs/concepts/filesystem.mdx:230",
			"website/content/docs/concepts/filesystem.mdx:273", "website/content/docs/concepts/filesystem.mdx:374",
			"website/content/docs/deploy/clusters/reverse-proxy-ui.mdx:50",
		},
		dynamicGroup: {"jobspec2/parse_test.go:303"},
		notHCL: {
			// Excerpts with dots for what is left out.
			"website/content/docs/job-specification/update.mdx:237", "website/content/docs/reference/hcl2/expressions.mdx:204",
			"website/content/partials/plugins/hcl-specifications.mdx:9",
			// Templates of nomad-pack and of fmt.Sprintf.
			"website/content/tools/nomad-pack/create-packs.mdx:196", "website/content/tools/nomad-pack/create-packs.mdx:296",
			"website/content/tools/nomad-pack/create-packs.mdx:319", "demo/digitalocean/app/bench.go:95",
			// Strings that are a part of a job, or none.
			"command/agent/job_endpoint_test.go:1778", "e2e/e2eutil/job.go:75", "e2e/v3/jobs3/jobs3.go:313",
			"jobspec2/parse_test.go:757", "jobspec2/parse_test.go:835", "jobspec2/parse_test.go:1020",
			"nomad/job_endpoint_test.go:4241", "nomad/job_endpoint_test.go:4262", "nomad/job_endpoint_test.go:4392",
		},
		notForNomad: {
			// They read files that are not there.
			"demo/csi/kadalu-csi/controller.nomad", "website/content/docs/reference/hcl2/functions/file/file.mdx:35",
			// It uses a variable that it does not declare.
			"website/content/docs/reference/hcl2/locals.mdx:22",
			// Wrong on purpose: scaling blocks, and env twice.
			"jobspec2/parse_test.go:442", "jobspec2/parse_test.go:465", "jobspec2/parse_test.go:488",
			"jobspec2/parse_test.go:511", "jobspec2/parse_test.go:534", "jobspec2/parse_test.go:783",
		},
	}
}

// The reasons for which a job may not keep all promises.
const (
	loneTask     = "its task stands outside of a group; its JSON keeps the promises"
	dynamicGroup = "its groups are made by a dynamic block; its JSON keeps the promises"
	notHCL       = "it is not HCL, which Nomad finds as well"
	notForNomad  = "Nomad refuses it; its text keeps the promises"
	// noGroup and noTask are the summaries of errors about choices for what Nomad refuses.
	noGroup, noTask = "No group", "Group without a task"
)

// reason says in which of the known ways a job fails to keep the promises; an
// unknown one is told by the error itself.
func (j corpusJob) reason(t *testing.T, err error) string {
	t.Helper()
	parsed, byNomad := j.byNomad(j.text)
	var r *refusal
	switch {
	case errors.Is(err, errNotNomad):
		return notForNomad
	case !errors.As(err, &r):
		return err.Error()
	case byNomad != nil && r.summary != "Cannot inject here":
		return notHCL
	case byNomad != nil:
		return err.Error()
	}
	raw, marshalling := json.MarshalIndent(parsed, "", "    ")
	must.NoError(t, marshalling)
	if _, err := keepsJSON(raw, j.place, loadCatalog(t), with("anywhere")); err != nil {
		return "as JSON: " + err.Error()
	}
	switch {
	case strings.Contains(r.detail, "no group block around its task"):
		return loneTask
	case strings.Contains(r.detail, `dynamic "group"`):
		return dynamicGroup
	}
	return err.Error()
}

// Every job in Nomad's documentation, examples and tests keeps the promises of
// injection: no choice changes nothing; no byte is lost; eject gives the job back;
// twice is once; and text and JSON become the same job.
func TestCorpusKeepsThePromises(t *testing.T) {
	c := loadCatalog(t)
	listed := map[string]string{}
	for reason, places := range corpusExceptions() {
		for _, place := range places {
			listed[place] = reason
		}
	}
	jobs := corpusJobs(t, nomadSource(t))
	must.SliceNotEmpty(t, jobs)
	t.Setenv("HOME", t.TempDir()) // one job reads a file there
	kept := 0
	for _, j := range jobs {
		err := j.keeps(c, with("anywhere"))
		if r := (&refusal{}); errors.As(err, &r) && (r.summary == noGroup || r.summary == noTask) {
			err = j.keeps(c, templater.Flags{})
		}
		want, excepted := listed[j.place]
		delete(listed, j.place)
		switch {
		case err == nil && !excepted:
			kept++
		case err == nil:
			t.Errorf("%s keeps all promises, though it should not: %s", j.place, want)
		default:
			got := j.reason(t, err)
			t.Logf("%s: %s", j.place, got)
			must.Eq(t, want, got, must.Sprintf("%s: %s", j.place, err))
		}
	}
	must.MapEmpty(t, listed, must.Sprint("not found in the source of Nomad"))
	t.Logf("%d jobs found, %d keep every promise, %d do not for the reasons above", len(jobs), kept, len(jobs)-kept)
}

// asPods gives all tasks the driver whose config may be changed.
func (j corpusJob) asPods() corpusJob {
	driver := regexp.MustCompile(`(?m)(^\s*"?[dD]river"?\s*[=:]\s*)"[a-z_0-9]*"`)
	j.text = driver.ReplaceAll(j.text, []byte(`$1"pod"`))
	return j
}

// The same jobs with tasks of the pod driver take sidecars that change their config,
// add ports and services, or are refused for what one finds in such jobs.
func TestCorpusAsPodsKeepsThePromises(t *testing.T) {
	c := loadCatalog(t)
	jobs := corpusJobs(t, nomadSource(t))
	excepted := slices.Concat(corpusExceptions()[notHCL], corpusExceptions()[loneTask], corpusExceptions()[dynamicGroup])
	jobs = slices.DeleteFunc(jobs, func(j corpusJob) bool { return slices.Contains(excepted, j.place) })
	for _, sidecars := range [][]string{{"viewer"}, {"awkward"}, {"ports"}, {"anywhere", "awkward", "ports", "viewer"}} {
		outcomes := map[string]int{}
		for _, j := range jobs {
			err := j.asPods().keeps(c, with(sidecars...))
			var r *refusal
			switch {
			case err == nil:
				outcomes["kept"]++
			case errors.As(err, &r):
				outcomes[r.summary]++
			case errors.Is(err, errNotNomad):
				outcomes[notForNomad]++
			default:
				t.Errorf("%s with %s: %s", j.place, sidecars, err)
			}
		}
		t.Logf("%d jobs with %s: %v", len(jobs), sidecars, outcomes)
		test.Eq(t, corpusOutcomes()[fmt.Sprint(sidecars)], outcomes, test.Sprint(sidecars))
	}
}

// corpusOutcomes are how often the jobs keep the promises with sidecars that ask for
// more, and what keeps the others from it.
func corpusOutcomes() map[string]map[string]int {
	return map[string]map[string]int{
		"[viewer]":                        {"kept": 332, noGroup: 34, noTask: 22, "Namespace not shared": 2, "Task without the pod driver": 46, notForNomad: 3},
		"[awkward]":                       {"kept": 247, noGroup: 34, noTask: 22, "Config conflict": 1, "Two service providers": 88, "Task without the pod driver": 44, notForNomad: 3},
		"[ports]":                         {"kept": 14, noGroup: 34, noTask: 22, "Two service providers": 35, "Unusable network mode": 334},
		"[anywhere awkward ports viewer]": {"kept": 14, noGroup: 34, noTask: 22, "Two service providers": 35, "Unusable network mode": 334},
	}
}

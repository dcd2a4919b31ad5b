package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

const faultyJob = `{"Job": {"ID": "web", "TaskGroups": [{"Name": "g", "Services": [{"Name": "s", "PortLabel": "htp"}],
  "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
  "Tasks": [{"Name": "app", "Driver": "docker", "Config": {"image": "app"}}]}]}}`

func analyzedWarnings(t *testing.T, lowest analyze.Severity, s analyze.Settings, body string) []string {
	t.Helper()
	r := rulesOf(t, notePolicy)
	r.Analysis = Analysis{Lowest: lowest, Settings: s}
	v := r.treat(t.Context(), []byte(body), func(*jsonjob.Request) location { return location{"other", "global"} })
	must.Nil(t, v.denial)
	return v.warnings
}

// Findings are warnings of the answer, the worst first; none is a reason to deny a job.
func TestAnalysis(t *testing.T) {
	must.SliceEmpty(t, analyzedWarnings(t, analyze.Off, analyze.Settings{}, faultyJob))
	all := analyzedWarnings(t, analyze.Info, analyze.Settings{}, faultyJob)
	must.Len(t, 4, all)
	must.StrHasPrefix(t, `NS1010: service "s" names port "htp", but group "g" declares no such port. Did you mean "http"? Fix: `, all[0])
	must.StrHasPrefix(t, `NS1030: Task "app" of group "g" runs image "app"`, all[1])
	must.Len(t, 2, analyzedWarnings(t, analyze.Warning, analyze.Settings{}, faultyJob))
	must.Len(t, 1, analyzedWarnings(t, analyze.Error, analyze.Settings{}, faultyJob))
	off := analyze.Settings{Severities: map[string]analyze.Severity{"NS1010": analyze.Off}}
	must.SliceEmpty(t, analyzedWarnings(t, analyze.Error, off, faultyJob))
}

// Injected tasks are analyzed too, and a dry run reports the faults of the job once.
func TestAnalysis_Injected(t *testing.T) {
	r := rulesOf(t, notePolicy)
	r.Analysis = Analysis{Lowest: analyze.Error, Settings: analyze.Settings{MemoryMB: 500}}
	treat := func() []string {
		v := r.treat(t.Context(), []byte(faultyJob), func(*jsonjob.Request) location { return location{"default", "global"} })
		must.Nil(t, v.denial)
		return v.warnings
	}
	got := strings.Join(treat(), "\n")
	must.StrContains(t, got, "NS1040: An allocation of group \"g\" reserves 600 MB with its sidecars")
	r.DryRun = true
	got = strings.Join(treat(), "\n")
	must.Eq(t, 1, strings.Count(got, "NS1010: "), must.Sprint(got))
}

// The number of warnings and the size of an analyzed job are bounded.
func TestAnalysis_Bounded(t *testing.T) {
	many := func(n int) string {
		var tasks []map[string]any
		for i := range n {
			tasks = append(tasks, map[string]any{"Name": fmt.Sprint("t", i), "Driver": "docker", "Config": map[string]any{"image": "app"}})
		}
		raw, err := json.Marshal(map[string]any{"Job": map[string]any{"ID": "web", "TaskGroups": []any{map[string]any{"Name": "g", "Tasks": tasks}}}})
		must.NoError(t, err)
		return string(raw)
	}
	got := analyzedWarnings(t, analyze.Warning, analyze.Settings{}, many(50))
	must.Len(t, maxFindings+1, got)
	must.StrHasPrefix(t, "More findings: 30 others are not listed.", got[maxFindings])
	got = analyzedWarnings(t, analyze.Warning, analyze.Settings{}, many(20_000))
	must.Eq(t, []string{"Not analyzed: The job is larger than 1 MiB."}, got)
}

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// storing is the part of Nomad's API that keeps versions of jobs, without anything that
// runs. A job whose ID begins with "sick" fails after it is registered.
type storing struct {
	mu       sync.Mutex
	order    []string
	versions map[string][]map[string]any
	sources  map[string][]json.RawMessage
	index    int
}

func (s *storing) put(job map[string]any, source json.RawMessage) string {
	id := job["ID"].(string)
	if s.versions[id] == nil {
		s.order = append(s.order, id)
	}
	s.index++
	job["Version"], job["JobModifyIndex"], job["Namespace"], job["Status"] = len(s.versions[id]), s.index, "default", "running"
	s.versions[id], s.sources[id] = append(s.versions[id], job), append(s.sources[id], source)
	if strings.HasPrefix(id, "sick") {
		return "evaluation"
	}
	return ""
}

func (s *storing) newest(id string) map[string]any { return s.versions[id][len(s.versions[id])-1] }

func (s *storing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body struct {
		Job            map[string]any
		Submission     json.RawMessage
		EnforceIndex   bool
		JobModifyIndex int
		JobVersion     int
	}
	_ = json.NewDecoder(r.Body).Decode(&body) // not all have one
	w.Header().Set("X-Nomad-Index", strconv.Itoa(s.index+1))
	answer, err := s.answer(r, body.Job, body.Submission, body.EnforceIndex, body.JobModifyIndex, body.JobVersion)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

func (s *storing) answer(r *http.Request, job map[string]any, source json.RawMessage, enforce bool, index, version int) (any, error) {
	path, _ := url.PathUnescape(strings.TrimPrefix(r.URL.Path, "/v1/job/"))
	id, rest, _ := strings.Cut(path, "/")
	switch {
	case r.URL.Path == "/v1/deployments":
		return []any{}, nil
	case r.URL.Path == "/v1/evaluation/evaluation":
		return map[string]any{"ID": "evaluation", "Status": "failed", "StatusDescription": "it is sick"}, nil
	case r.URL.Path == "/v1/jobs" && r.Method == http.MethodGet:
		list := []map[string]any{}
		for _, id := range s.order {
			list = append(list, map[string]any{"ID": id, "Namespace": "default"})
		}
		return list, nil
	case r.URL.Path == "/v1/jobs":
		if have := s.versions[job["ID"].(string)]; enforce && (have == nil || have[len(have)-1]["JobModifyIndex"].(int) != index) {
			return nil, fmt.Errorf("enforcing job modify index %d: job is another one", index)
		}
		return map[string]any{"EvalID": s.put(job, source)}, nil
	case s.versions[id] == nil:
		return nil, nil
	case rest == "plan":
		return map[string]any{"Diff": diffOf(s.newest(id), job), "JobModifyIndex": s.newest(id)["JobModifyIndex"]}, nil
	case rest == "deployment":
		return json.RawMessage("null"), nil
	case rest == "versions":
		return map[string]any{"Versions": s.versions[id]}, nil
	case rest == "revert":
		s.put(s.copyOf(id, version), s.sources[id][version])
		return map[string]any{"EvalID": ""}, nil
	case rest == "submission":
		n, err := strconv.Atoi(r.URL.Query().Get("version"))
		if err != nil || n >= len(s.sources[id]) || s.sources[id][n] == nil {
			return nil, nil
		}
		return s.sources[id][n], nil
	}
	return s.newest(id), nil
}

// diffOf is a diff of jobs that lists every task with its meta.
func diffOf(from, to map[string]any) *api.JobDiff {
	diff, groups := &api.JobDiff{Type: "Edited"}, map[string]*api.TaskGroupDiff{}
	add := func(job map[string]any, kind string) {
		raw, _ := json.Marshal(job) // it was JSON
		var j struct {
			TaskGroups []struct {
				Name  string
				Tasks []struct {
					Name string
					Meta map[string]string
				}
			}
		}
		_ = json.Unmarshal(raw, &j)
		for _, g := range j.TaskGroups {
			group := groups[g.Name]
			if group == nil {
				group = &api.TaskGroupDiff{Name: g.Name, Type: "Edited"}
				groups[g.Name], diff.TaskGroups = group, append(diff.TaskGroups, group)
			}
			for _, t := range g.Tasks {
				group.Tasks = slices.DeleteFunc(group.Tasks, func(o *api.TaskDiff) bool { return o.Name == t.Name })
				task := &api.TaskDiff{Name: t.Name, Type: kind}
				for key, value := range t.Meta {
					task.Fields = append(task.Fields, &api.FieldDiff{Name: "Meta[" + key + "]", New: value})
				}
				group.Tasks = append(group.Tasks, task)
			}
		}
	}
	add(from, "Deleted")
	add(to, "None")
	return diff
}

func (s *storing) copyOf(id string, version int) map[string]any {
	out := map[string]any{}
	for k, v := range s.versions[id][version] {
		out[k] = v
	}
	return out
}

// TestScriptsWithStoredJobs runs the scripts that need no more of a Nomad.
func TestScriptsWithStoredJobs(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/stored",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			server := httptest.NewServer(&storing{versions: map[string][]map[string]any{}, sources: map[string][]json.RawMessage{}})
			env.Defer(server.Close)
			env.Setenv("NOMAD_ADDR", server.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fails,
			// get PATH: what the API answers, to stdout.
			"get": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Exec("curl", "-sf", ts.Getenv("NOMAD_ADDR")+args[0]))
			},
		},
	})
}

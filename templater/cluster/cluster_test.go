package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// fake answers each path with one text after the other, and the last one forever.
type fake struct {
	answers map[string][]string
	bodies  map[string]string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	list := f.answers[path]
	if len(list) == 0 {
		http.Error(w, "no such path", http.StatusNotFound)
		return
	}
	if len(list) > 1 {
		f.answers[path] = list[1:]
	}
	var body strings.Builder
	_, _ = fmt.Fprint(&body, r.Method, " ", r.URL.RawQuery, " ")
	buf := make([]byte, 4096)
	n, _ := r.Body.Read(buf)
	body.Write(buf[:n])
	f.bodies[path] = body.String()
	w.Header().Set("X-Nomad-Index", "7")
	fmt.Fprint(w, list[0])
}

func open(t *testing.T, answers map[string][]string) (*Cluster, *fake) {
	f := &fake{answers, map[string]string{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("NOMAD_ADDR", server.URL)
	c, err := Open()
	must.NoError(t, err)
	return c, f
}

func TestUnknownFieldsReachNomad(t *testing.T) {
	c, f := open(t, map[string][]string{
		"/v1/jobs": {`{"EvalID":"e1","Warnings":"w"}`}, "/v1/job/a%2Fb/plan": {`{"JobModifyIndex":3}`},
	})
	job, err := ReadJob([]byte(`{"job":null,"JOB":{"ID":"a/b","Future":[1.50],"namespace":"n","Region":"r"}} trailing`))
	must.NoError(t, err)
	index := uint64(5)
	done, err := c.Register(context.Background(), job, Options{CheckIndex: &index})
	must.NoError(t, err)
	must.Eq(t, &Registered{Evaluation: "e1", Warnings: "w"}, done)
	for _, want := range []string{"PUT", "namespace=n", "region=r", `"Future":[1.50]`, `"EnforceIndex":true`, `"JobModifyIndex":5`} {
		must.StrContains(t, f.bodies["/v1/jobs"], want)
	}
	plan, err := c.Plan(context.Background(), job, false)
	must.NoError(t, err)
	must.Eq(t, 3, plan.JobModifyIndex)
	must.StrContains(t, f.bodies["/v1/job/a%2Fb/plan"], `"Diff":true`)
}

// Nomad routes by the decoded path, so what an ID holds must stay one segment.
// Trap I1.
func TestCluster_UnusualJobIDs(t *testing.T) {
	for id, path := range map[string]string{
		"team/web": "/v1/job/team%2Fweb/plan", "plan": "/v1/job/plan/plan", "x/periodic-1": "/v1/job/x%2Fperiodic-1/plan",
		"a%2Fb": "/v1/job/a%252Fb/plan", "a b?c#d": "/v1/job/a%20b%3Fc%23d/plan",
		".": "/v1/job/%2E/plan", "..": "/v1/job/%2E%2E/plan",
	} {
		c, f := open(t, map[string][]string{path: {`{"JobModifyIndex":3}`}})
		text, err := json.Marshal(map[string]string{"ID": id})
		must.NoError(t, err)
		job, err := ReadJob(text)
		must.NoError(t, err)
		_, err = c.Plan(context.Background(), job, false)
		must.NoError(t, err, must.Sprint(id))
		must.MapContainsKey(t, f.bodies, path)
	}
	for _, none := range []string{`{}`, `{"ID":""}`, `{"Job":{"ID":null}}`} {
		_, err := ReadJob([]byte(none))
		must.ErrorIs(t, err, errNoID, must.Sprint(none))
	}
}

func TestJobsThatAreOnlyScheduled(t *testing.T) {
	for text, scheduled := range map[string]bool{
		`{"ID":"j"}`: false, `{"ID":"j","Periodic":null,"Multiregion":{"Regions":[]}}`: false,
		`{"ID":"j","Periodic":{}}`: true, `{"ID":"j","ParameterizedJob":{}}`: true,
		`{"ID":"j","Multiregion":{"Regions":[{}]}}`: true,
	} {
		job, err := ReadJob([]byte(text))
		must.NoError(t, err)
		must.Eq(t, scheduled, job.Scheduled, must.Sprint(text))
	}
	_, err := ReadJob([]byte(`[`))
	must.Error(t, err)
}

func follow(t *testing.T, evals, deployments []string) (lines []string, err error) {
	c, _ := open(t, map[string][]string{"/v1/evaluation/e1": evals, "/v1/deployment/d1": deployments})
	err = c.Follow(context.Background(), &Job{ID: "j"}, "e1", 0, func(line string) { lines = append(lines, line) })
	return lines, err
}

func TestADeploymentIsFollowedToItsEnd(t *testing.T) {
	evals := []string{`{"ID":"e1","Status":"pending"}`, `{"ID":"e1","Status":"complete","DeploymentID":"d1"}`}
	running := `{"Status":"running","TaskGroups":{"g":{"DesiredTotal":2,"PlacedAllocs":1}}}`
	lines, err := follow(t, evals, []string{running, running, `{"Status":"successful","StatusDescription":"done","TaskGroups":{"g":{"DesiredTotal":2,"PlacedAllocs":2,"HealthyAllocs":2}}}`})
	must.NoError(t, err)
	must.Eq(t, []string{
		"evaluation e1: pending", "evaluation e1: complete", `group "g": 1 of 2 placed, 0 healthy, 0 unhealthy`,
		`group "g": 2 of 2 placed, 2 healthy, 0 unhealthy`, "deployment d1: done",
	}, lines)
	_, err = follow(t, evals, []string{running, `{"Status":"failed","StatusDescription":"progress deadline"}`})
	must.ErrorIs(t, err, ErrNotHealthy)
	must.ErrorContains(t, err, "deployment d1 is failed: progress deadline")
}

// Trap I26.
func TestFollow_AutoRevert(t *testing.T) {
	for description, reverted := range map[string]bool{
		"Failed due to progress deadline - rolling back to job version 3":                                                  true,
		"Failed due to progress deadline - not rolling back to stable job version 3 as current job has same specification": false,
		"Failed due to progress deadline - no stable job version to auto revert to":                                        false,
	} {
		_, err := follow(t, []string{`{"Status":"complete","DeploymentID":"d1"}`}, []string{fmt.Sprintf(`{"Status":"failed","StatusDescription":%q}`, description)})
		must.ErrorIs(t, err, ErrNotHealthy)
		must.Eq(t, reverted, errors.Is(err, ErrReverted), must.Sprint(description))
	}
}

// Trap I29.
func TestFollow_OlderDeployment(t *testing.T) {
	c, _ := open(t, map[string][]string{
		"/v1/evaluation/e1": {`{"Status":"complete","DeploymentID":"d1"}`},
		"/v1/deployment/d1": {`{"Status":"cancelled","JobVersion":2,"StatusDescription":"Cancelled because job is stopped"}`},
	})
	var lines []string
	report := func(line string) { lines = append(lines, line) }
	must.NoError(t, c.Follow(t.Context(), &Job{ID: "j"}, "e1", 3, report))
	must.Eq(t, "deployment d1: of version 2, ignored", lines[len(lines)-1])
	must.ErrorIs(t, c.Follow(t.Context(), &Job{ID: "j"}, "e1", 2, report), ErrNotHealthy)
}

func TestStored_IDNotAddressable(t *testing.T) {
	c, _ := open(t, map[string][]string{"/v1/job/x%2Fversions": {`{"Versions":[]}`}, "/v1/job/x%2Fallocations": {`[]`}, "/v1/job/x": {`{"ID":"x"}`}})
	_, err := c.Stored(t.Context(), "default", "x")
	must.NoError(t, err)
	for _, id := range []string{"x/versions", "x/allocations"} {
		_, err := c.Stored(t.Context(), "default", id)
		must.ErrorIs(t, err, ErrNotAddressable)
	}
}

func TestRegister_Options(t *testing.T) {
	c, f := open(t, map[string][]string{"/v1/jobs": {`{}`}})
	job := &Job{ID: "j", JSON: []byte(`{"ID":"j"}`)}
	_, err := c.Register(t.Context(), job, Options{PreserveCounts: true, PreserveResources: true, PolicyOverride: true, EvalPriority: 70})
	must.NoError(t, err)
	for _, want := range []string{`"PreserveCounts":true`, `"PreserveResources":true`, `"PolicyOverride":true`, `"EvalPriority":70`} {
		must.StrContains(t, f.bodies["/v1/jobs"], want)
	}
	_, err = c.Register(t.Context(), job, Options{})
	must.NoError(t, err)
	must.Eq(t, `PUT  {"Job":{"ID":"j"}}`, strings.TrimSpace(f.bodies["/v1/jobs"]))
}

func TestTaskChanges(t *testing.T) {
	plan := &api.JobPlanResponse{Diff: &api.JobDiff{TaskGroups: []*api.TaskGroupDiff{
		{Name: "g", Type: "Edited", Tasks: []*api.TaskDiff{
			{Name: "a", Type: "Edited", Fields: []*api.FieldDiff{{Name: "Meta[k.v]", Old: "1", New: "2"}, {Name: "Env[k]", New: "3"}}},
			{Name: "b", Type: "Deleted"},
		}},
		{Name: "h", Type: "Deleted", Tasks: []*api.TaskDiff{{Name: "c", Type: "Deleted"}}},
	}}}
	must.Eq(t, []TaskChange{
		{Group: "g", Task: "a", Meta: map[string]string{"k.v": "2"}},
		{Group: "g", Task: "b", Removed: true, Meta: map[string]string{}},
		{Group: "h", Task: "c", Removed: true, Meta: map[string]string{}},
	}, TaskChanges(plan))
}

// Who waits for nothing but a promotion is told so, once.
func TestADeploymentThatWaitsForItsPromotion(t *testing.T) {
	deployment := func(healthy int, description string) string {
		return fmt.Sprintf(`{"ID":"d1","Status":"running","StatusDescription":%q,"TaskGroups":{"g":{"DesiredTotal":2,"DesiredCanaries":1,"PlacedAllocs":1,"HealthyAllocs":%d}}}`, description, healthy)
	}
	const promoted = `{"ID":"d1","Status":"successful","StatusDescription":"done","TaskGroups":{"g":{"DesiredTotal":2,"DesiredCanaries":1,"Promoted":true,"PlacedAllocs":2,"HealthyAllocs":2}}}`
	for description, told := range map[string]int{"Deployment is running but requires manual promotion": 1, "Deployment is running pending automatic promotion": 0} {
		lines, err := follow(t, []string{`{"Status":"complete","DeploymentID":"d1"}`},
			[]string{deployment(0, description), deployment(1, description), deployment(1, description), promoted})
		must.NoError(t, err)
		asked := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, `"nomad deployment promote d1"`) })
		must.Len(t, told, asked, must.Sprint(lines))
		must.Eq(t, "deployment d1: done", lines[len(lines)-1])
	}
}

func TestAnEvaluationThatPlacesNothing(t *testing.T) {
	lines, err := follow(t, []string{`{"Status":"complete","BlockedEval":"b1","FailedTGAllocs":{"g":{"NodesEvaluated":2,"ConstraintFiltered":{"x = y":2},"CoalescedFailures":1}}}`}, nil)
	must.ErrorIs(t, err, ErrNotHealthy)
	must.Eq(t, `group "g": 2 allocations could not be placed: x = y (2 clients)`, lines[1])
	_, err = follow(t, []string{`{"Status":"failed","StatusDescription":"why"}`}, nil)
	must.ErrorContains(t, err, "evaluation e1 is failed: why")
	_, err = follow(t, nil, nil)
	must.ErrorContains(t, err, "follow evaluation e1")
}

// Trap I13.
func TestCluster_EffectsOnAllocation(t *testing.T) {
	names := map[string][]string{"g": {"app", "proxy"}}
	edited := func(name, annotation string) *api.TaskDiff {
		return &api.TaskDiff{Type: "Edited", Name: name, Annotations: []string{annotation}}
	}
	for name, c := range map[string]struct {
		group   api.TaskGroupDiff
		updates api.DesiredUpdates
		app     Effect
		proxy   Effect
	}{
		"nothing":               {api.TaskGroupDiff{Type: "None"}, api.DesiredUpdates{Ignore: 1}, None, None},
		"one destructive":       {api.TaskGroupDiff{Type: "Edited", Tasks: []*api.TaskDiff{edited("proxy", "forces create/destroy update")}}, api.DesiredUpdates{DestructiveUpdate: 1}, Destructive, Destructive},
		"one in place":          {api.TaskGroupDiff{Type: "Edited", Tasks: []*api.TaskDiff{edited("proxy", "forces in-place update")}}, api.DesiredUpdates{InPlaceUpdate: 1}, None, InPlace},
		"only the group":        {api.TaskGroupDiff{Type: "Edited"}, api.DesiredUpdates{DestructiveUpdate: 1}, Destructive, Destructive},
		"canary":                {api.TaskGroupDiff{Type: "Edited"}, api.DesiredUpdates{Canary: 1}, Destructive, Destructive},
		"added task":            {api.TaskGroupDiff{Type: "Edited", Tasks: []*api.TaskDiff{{Type: "Added", Name: "proxy"}}}, api.DesiredUpdates{DestructiveUpdate: 1}, Destructive, Created},
		"removed task":          {api.TaskGroupDiff{Type: "Edited", Tasks: []*api.TaskDiff{{Type: "Deleted", Name: "proxy"}}}, api.DesiredUpdates{DestructiveUpdate: 1}, Destructive, Removed},
		"new group":             {api.TaskGroupDiff{Type: "Added"}, api.DesiredUpdates{Place: 1}, Created, Created},
		"no allocations to ask": {api.TaskGroupDiff{Type: "Edited", Tasks: []*api.TaskDiff{edited("app", "forces create/destroy update")}}, api.DesiredUpdates{Place: 1}, Destructive, Destructive},
	} {
		c.group.Name = "g"
		plan := &api.JobPlanResponse{
			Diff:        &api.JobDiff{Type: "Edited", TaskGroups: []*api.TaskGroupDiff{&c.group}},
			Annotations: &api.PlanAnnotations{DesiredTGUpdates: map[string]*api.DesiredUpdates{"g": &c.updates}},
		}
		effects := Effects(plan, names)
		must.Len(t, 1, effects, must.Sprint(name))
		must.Eq(t, c.app, effects[0].Tasks[0].Effect, must.Sprint(name))
		must.Eq(t, c.proxy, effects[0].Tasks[1].Effect, must.Sprint(name))
	}
	must.Len(t, 0, Effects(&api.JobPlanResponse{}, names))
}

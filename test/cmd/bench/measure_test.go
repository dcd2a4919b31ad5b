package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"
)

func TestStartTime_AllTasks(t *testing.T) {
	at := time.Unix(1000, 0)
	task := func(setup, started, finished time.Duration) *api.TaskState {
		return &api.TaskState{FinishedAt: at.Add(finished), Events: []*api.TaskEvent{
			{Type: api.TaskReceived, Time: at.UnixNano()},
			{Type: api.TaskSetup, Time: at.Add(setup).UnixNano()},
			{Type: api.TaskStarted, Time: at.Add(started).UnixNano()},
		}}
	}
	allocs := []*api.AllocationListStub{
		{TaskStates: map[string]*api.TaskState{"a": task(30, 50, 90), "b": task(20, 40, 95)}},
		{TaskStates: map[string]*api.TaskState{"a": task(25, 70, 80)}},
	}
	must.Eq(t, 50, startTime(allocs))
	must.Eq(t, at.Add(95), lastEnd(allocs))
}

func TestJob_GroupsAndTasks(t *testing.T) {
	c := &contestant{driver: "pod", config: sleepConfig}
	parsed, err := jobspec2.Parse("", strings.NewReader(job("bench-1", c, 5)))
	must.NoError(t, err)
	must.Eq(t, "bench-1", *parsed.ID)
	must.Eq(t, 5, *parsed.TaskGroups[0].Count)
	must.Len(t, tasksPerGroup, parsed.TaskGroups[0].Tasks)
	must.Eq(t, "/bin/sleep", parsed.TaskGroups[0].Tasks[1].Config["command"])
}

func TestJobSizes(t *testing.T) {
	must.Eq(t, []jobSize{{1, 1}, {5, 1}}, jobSizes(options{quick: true, trace: true}))
	must.Eq(t, 100, jobSizes(options{})[3].tasks())
	_, err := parse([]string{"-quick", "extra"})
	must.ErrorContains(t, err, `"extra"`)
}

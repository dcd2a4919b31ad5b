package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// TestFollowPulls checks which ends of the job that pulls images are errors.
func TestFollowPulls(t *testing.T) {
	const (
		pulled  = `{"ClientStatus":"complete","DesiredStatus":"run"}`
		stopped = `{"ClientStatus":"complete","DesiredStatus":"stop"}`
		failed  = `{"ClientStatus":"failed","DesiredStatus":"stop","NodeName":"n"}`
		there   = `{"ID":"p"}`
		stop    = `{"ID":"p","Stop":true}`
	)
	for name, tc := range map[string]struct{ allocs, job, err, line string }{
		"all":            {pulled + "," + pulled, there, "", "images pulled on 2 of 2"},
		"some":           {pulled, there, "", "1 node down"},
		"none":           {"", there, "on any of 2 nodes", ""},
		"purged":         {stopped, "", "was purged", ""},
		"stopped":        {pulled + "," + stopped, stop, "was stopped", ""},
		"stopped failed": {failed, stop, "was stopped", ""},
		"failed":         {failed, there, "on node n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string][]string{"/v1/job/p/allocations": {"[" + tc.allocs + "]"}}
			if tc.job != "" {
				answers["/v1/job/p"] = []string{tc.job}
			}
			c, _ := open(t, answers)
			var lines []string
			report := func(line string) { lines = append(lines, line) }
			err := c.followPulls(context.Background(), &Job{ID: "p"}, 2, report)
			must.StrContains(t, strings.Join(lines, "\n"), tc.line)
			if tc.err == "" {
				must.NoError(t, err)
				return
			}
			must.ErrorIs(t, err, ErrNotPulled)
			must.StrContains(t, err.Error(), tc.err)
		})
	}
}

// TestPrefetch_Index checks that the job is registered with its index from before the pull.
func TestPrefetch_Index(t *testing.T) {
	one, two := uint64(1), uint64(2)
	for name, tc := range map[string]struct {
		job   string
		check *uint64
		index uint64
		err   string
	}{
		"there":         {`{"ID":"web","JobModifyIndex":2}`, nil, 2, ""},
		"expected":      {`{"ID":"web","JobModifyIndex":2}`, &two, 2, ""},
		"another":       {`{"ID":"web","JobModifyIndex":2}`, &one, 2, "is 2, not 1"},
		"new":           {"", nil, 0, ""},
		"expected, new": {"", &one, 0, "is 0, not 1"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string][]string{"/v1/job/web/allocations": {"[]"}}
			if tc.job != "" {
				answers["/v1/job/web"] = []string{tc.job}
			}
			c, _ := open(t, answers)
			index, err := c.Prefetch(t.Context(), &Job{ID: "web", JSON: []byte(`{"ID":"web"}`)}, tc.check, time.Minute, func(string) {})
			must.Eq(t, tc.index, index)
			if tc.err == "" {
				must.NoError(t, err)
				return
			}
			must.ErrorIs(t, err, ErrConflict)
			must.ErrorContains(t, err, tc.err)
		})
	}
}

// TestNodesOf checks which allocations count: those that should run, also between two restarts.
func TestNodesOf(t *testing.T) {
	c, _ := open(t, map[string][]string{"/v1/job/web/allocations": {`[
		{"NodeID":"a","DesiredStatus":"run","ClientStatus":"running","JobVersion":3},
		{"NodeID":"b","DesiredStatus":"run","ClientStatus":"pending","JobVersion":3},
		{"NodeID":"c","DesiredStatus":"run","ClientStatus":"failed","JobVersion":3},
		{"NodeID":"d","DesiredStatus":"stop","ClientStatus":"running","JobVersion":3}]`}})
	nodes, err := c.nodesOf(t.Context(), &Job{ID: "web"}, []byte(`{"Version":3}`))
	must.NoError(t, err)
	must.Eq(t, []string{"a", "b"}, nodes.ids)
	must.False(t, nodes.current, must.Sprint("b may lack the image"))
}

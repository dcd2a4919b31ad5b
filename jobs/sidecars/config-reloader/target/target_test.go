package target

import (
	"testing"

	"github.com/shoenig/test/must"
)

func process(pid int, start uint64, name string, parent int, task string) candidate {
	return candidate{Process{pid, start, name}, parent, task}
}

// web is a pod: nginx in task app, started by a shell, with a session of
// "nomad alloc exec" in it, and another nginx in task proxy.
func web() []candidate {
	return []candidate{
		process(40, 900, "sh", 0, "app"), // the session
		process(41, 910, "nginx", 40, "app"),
		process(1, 10, "catatonit", 0, "(pod)"),
		process(20, 200, "start.sh", 0, "app"),
		process(21, 210, "nginx", 20, "app"),
		process(22, 220, "nginx", 21, "app"),
		process(23, 230, "nginx", 21, "app"),
		process(30, 100, "nginx", 0, "proxy"),
		process(24, 240, "helper", 1, "app"), // adopted
	}
}

func TestChoose(t *testing.T) {
	for name, tc := range map[string]struct {
		target Target
		all    []candidate
		want   []int
	}{
		"the first process of the task":     {Target{Task: "app"}, web(), []int{20}},
		"the topmost of a name":             {Target{Task: "app", Process: "nginx"}, web(), []int{21, 41}},
		"another task":                      {Target{Task: "proxy"}, web(), []int{30}},
		"a name that another task has":      {Target{Task: "proxy", Process: "start.sh"}, web(), nil},
		"a task that does not run":          {Target{Task: "db"}, web(), nil},
		"one of unknown task does not hide": {Target{Task: "app"}, append(web(), process(50, 1, "x", 0, "")), []int{20}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := tc.target.choose(tc.all)
			must.NoError(t, err)
			var pids []int
			for _, p := range found {
				pids = append(pids, p.PID)
			}
			must.Eq(t, tc.want, pids)
		})
	}
}

// It may be the application that nothing tells of.
func TestChooseSaysWhatIsUnknown(t *testing.T) {
	_, err := Target{Task: "db"}.choose(append(web(), process(50, 1, "postgres", 0, "")))
	must.ErrorContains(t, err, `the task of process 50 (postgres) is unknown, and no process is known to belong to task "db"`)
}

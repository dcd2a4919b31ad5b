package e2e

import (
	"fmt"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestTask_ExitResults checks that the ways in which a task can end are distinguished.
func TestTask_ExitResults(t *testing.T) {
	cases := []struct {
		name, command, args, share string
		signal                     string // sent by the test once the task runs
		want                       end
	}{
		{name: "success", command: "/bin/true", want: end{}},
		{name: "exit code", command: "/bin/sh", args: `"-c", "exit 7"`, want: end{code: 7}},
		{name: "signal from inside", command: "/bin/sh", args: `"-c", "kill -TERM $$; sleep 60"`, share: `"pid"`,
			want: end{code: 143, signal: 15}},
		{name: "signal from outside", command: "/bin/sleep", args: `"1000"`, share: `"pid"`,
			signal: "SIGTERM", want: end{code: 143, signal: 15}},
		{name: "out of memory", command: "/usr/bin/tail", args: `"/dev/zero"`, want: end{code: 137, signal: 9, oom: true}},
		{name: "plain kill", command: "/bin/sleep", args: `"1000"`, signal: "SIGKILL", want: end{code: 137, signal: 9}},
	}
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		for i, test := range cases {
			c.t.Run(test.name, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				job := testdata(t, "once.nomad.hcl", "NAME", fmt.Sprintf("once-%d", i),
					"COMMAND", test.command, "ARGS", test.args, "SHARE", test.share)
				alloc, err := c.RunJob(c.ctx, job)
				must.NoError(t, err)
				if test.signal != "" {
					alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
					must.NoError(t, c.Client().Allocations().Signal(alloc, nil, "once", test.signal))
				}
				alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusComplete, api.AllocClientStatusFailed)
				must.Eq(t, test.want, endOf(t, alloc), must.Sprint(agent.Events(alloc)))
			})
		}
	})
}

// end is the result of a task according to its allocation's events.
type end struct {
	code, signal int
	oom          bool
}

func endOf(t *testing.T, alloc *api.Allocation) end {
	t.Helper()
	for _, task := range alloc.TaskStates { // the allocation has one task
		for _, event := range task.Events {
			if event.Type == api.TaskTerminated {
				return end{event.ExitCode, event.Signal, event.Details["oom_killed"] == "true"}
			}
		}
	}
	t.Fatalf("no Terminated event: %s", agent.Events(alloc))
	return end{}
}

// TestTask_Refused checks that an invalid task fails with the reason before anything is created.
func TestTask_Refused(t *testing.T) {
	cases := []struct{ name, config, says string }{
		{"unknown key", `command = "/bin/true"
        colour = "red"`, "colour"},
		{"wrong type", `command = ["/bin/true"]`, "command"},
		{"contradiction", `command = "/bin/true"
        share = ["pid"]
        pid_mode = "host"`, "pid_mode"},
		{"no command", `args = ["x"]`, "command"},
		{"command that is not there", `command = "/no/such/program"`, "/no/such/program"},
	}
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		for i, test := range cases {
			c.t.Run(test.name, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				job := testdata(t, "config.nomad.hcl", "NAME", fmt.Sprintf("refused-%d", i), "CONFIG", test.config)
				alloc := c.run(job, api.AllocClientStatusFailed)
				must.StrContains(t, agent.Events(alloc), test.says)
				for _, event := range alloc.TaskStates["once"].Events {
					must.NotEq(t, api.TaskStarted, event.Type)
				}
			})
		}
	})
}

// TestLogs_ReadOnlyInside checks that a task cannot write to Nomad's log files (CVE-2026-6959).
func TestLogs_ReadOnlyInside(t *testing.T) {
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
		for _, attempt := range []string{
			"touch /alloc/logs/x", "mv /alloc/logs/counter.stdout.0 /alloc/logs/y",
			"ln -s /etc/passwd /alloc/logs/z", "mv /alloc/logs /alloc/other",
		} {
			result, err := c.Exec(c.ctx, alloc, "counter", "sh", "-c", attempt)
			must.NoError(c.t, err)
			must.NotEq(c.t, 0, result.Code, must.Sprint(attempt))
		}
		c.exec(alloc, "counter", "touch", "/alloc/data/x", "/local/x", "/secrets/x")
	})
}

package e2e

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestKillSignalAndTimeout checks that a task gets its kill_signal and is killed after its
// kill_timeout.
func TestKillSignalAndTimeout(t *testing.T) {
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		const script = "trap '' TERM; trap 'echo asked; ANSWER' INT; echo up; while :; do sleep 0.05; done"
		for _, test := range []struct {
			name, answer, timeout string
			code, signal          int
		}{
			{"polite", "exit 3", "25s", 3, 0},
			{"deaf", ":", "1s", 137, 9},
		} {
			c.sub(test.name, func(c *cluster) {
				alloc := c.runSingleTask(singleTask{
					name: test.name, script: strings.Replace(script, "ANSWER", test.answer, 1),
					task: "kill_signal = \"SIGINT\"\nkill_timeout = \"" + test.timeout + "\"",
				})
				c.waitLog(alloc, "inside", "stdout", "up\n")
				c.stop(test.name, alloc)
				c.waitLog(alloc, "inside", "stdout", "asked\n")
				alloc, err := c.Alloc(alloc.ID)
				must.NoError(c.t, err)
				must.Eq(c.t, end{code: test.code, signal: test.signal}, endOf(c.t, alloc), must.Sprint(agent.Events(alloc)))
			})
		}
	})
}

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// Trap D3: a task continues to write without SIGPIPE and without losing a line after the death of
// every process between it and its log, with this driver's collector and with Nomad's. Nomad's may
// lose lines that it has read, so there are none at that moment.
func TestLogs_EveryReaderKilled(t *testing.T) {
	t.Parallel()
	for collector, kill := range map[string]func(c *cluster){
		"pod":   func(c *cluster) { must.NoError(c.t, c.KillCollector()) },
		"nomad": func(c *cluster) { must.NoError(c.t, c.KillLogmon()) },
	} {
		t.Run(collector, func(t *testing.T) {
			onOwnAgent(t, matrix.One(), func(c *cluster) { checkNoLineLost(c, kill) }, func(o *agent.Options) {
				o.PluginConfig += fmt.Sprintf("log_collector = %q\n", collector)
			})
		})
	}
}

func checkNoLineLost(c *cluster, killCollector func(c *cluster)) {
	// The lines must fit into a pipe of 64 KiB. Each has at most 11 bytes.
	const lines = 5000
	alloc := c.run(testdata(c.t, "paced.nomad.hcl"), api.AllocClientStatusRunning)
	upto := 100
	c.writeUpTo(alloc, upto)
	c.checkLines(alloc, upto)
	first := c.identities(alloc, "paced")
	for _, reader := range []struct {
		name       string
		kill, back func(c *cluster)
	}{
		{"collector", killCollector, func(c *cluster) {
			must.NoError(c.t, c.Shutdown(c.ctx))
			must.NoError(c.t, c.Launch(c.ctx))
		}},
		{"plugin", func(c *cluster) { must.NoError(c.t, c.KillPlugin()) }, func(*cluster) {}},
		{"agent", func(c *cluster) { must.NoError(c.t, c.Kill(c.ctx)) }, func(c *cluster) { must.NoError(c.t, c.Launch(c.ctx)) }},
		{"all", func(c *cluster) {
			must.NoError(c.t, c.Kill(c.ctx))
			must.NoError(c.t, c.KillPlugin())
			killCollector(c)
		}, func(c *cluster) { must.NoError(c.t, c.Launch(c.ctx)) }},
	} {
		c.sub(reader.name, func(c *cluster) {
			reader.kill(c)
			upto += lines
			c.writeUpTo(alloc, upto)
			reader.back(c)
			c.checkLines(alloc, upto)
			must.Eq(c.t, first, c.identities(alloc, "paced"))
		})
	}
}

// TestLogs_Followed checks that `nomad alloc logs -f` follows rotated files, even if the
// collector dies in between.
func TestLogs_Followed(t *testing.T) {
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		// Enough for three files of 1 MiB and part of a fourth.
		const lines = 300_000
		alloc := c.run(testdata(c.t, "paced.nomad.hcl"), api.AllocClientStatusRunning)
		c.writeUpTo(alloc, 1)
		follow := exec.CommandContext(c.ctx, c.Nomad(), "alloc", "logs", "-f", alloc.ID, "paced")
		follow.Env = append(os.Environ(), "NOMAD_ADDR="+c.Address())
		followed, err := follow.StdoutPipe()
		must.NoError(c.t, err)
		must.NoError(c.t, follow.Start())
		defer func() {
			_ = follow.Process.Kill() // it would follow until the task ends
			_ = follow.Wait()
		}()
		scanner := bufio.NewScanner(followed)
		for i := range lines {
			must.True(c.t, scanner.Scan(), must.Sprintf("output ends before line %d: %v", i+1, scanner.Err()))
			must.Eq(c.t, fmt.Sprintf("line %d", i+1), scanner.Text())
			switch i {
			case 0: // the command is following
				c.writeUpTo(alloc, lines/2)
			case lines/2 - 1:
				must.NoError(c.t, c.KillCollector())
				c.writeUpTo(alloc, lines)
			}
		}
		_, err = os.Stat(filepath.Join(c.SharedDir(alloc.ID), "logs", "paced.stdout.3"))
		must.NoError(c.t, err)
	})
}

// writeUpTo makes the task write lines up to number n, and waits for it.
func (c *cluster) writeUpTo(alloc *api.Allocation, n int) {
	c.t.Helper()
	file := filepath.Join(c.SharedDir(alloc.ID), "data", "upto")
	must.NoError(c.t, os.WriteFile(file+".new", fmt.Append(nil, n), 0o644))
	must.NoError(c.t, os.Rename(file+".new", file))
	c.eventually("the lines are written", func() error {
		at, err := os.ReadFile(filepath.Join(filepath.Dir(file), "at"))
		if err == nil && string(at) != fmt.Sprintln(n) {
			err = fmt.Errorf("task is at line %s", at)
		}
		return err
	})
}

// checkLines waits until the log has n lines, and checks them.
func (c *cluster) checkLines(alloc *api.Allocation, n int) {
	c.t.Helper()
	text := c.waitLog(alloc, "paced", "stdout", fmt.Sprintf("line %d\n", n))
	lines := strings.Split(strings.TrimSpace(text), "\n")
	must.Eq(c.t, n, len(lines))
	for i, line := range lines {
		must.Eq(c.t, fmt.Sprintf("line %d", i+1), line)
	}
}

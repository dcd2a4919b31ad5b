package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/console"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/agent"
)

func TestExec(t *testing.T) {
	withRuntimes(t, func(c *cluster) {
		alloc := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)

		result, err := c.Exec(c.ctx, alloc, "counter", "sh", "-c", "echo out; echo err >&2; exit 4")
		must.NoError(c.t, err)
		must.Eq(c.t, agent.Result{Stdout: "out\n", Stderr: "err\n", Code: 4}, result)

		must.Eq(c.t, "line\n", execInput(c, alloc, "line\n", "cat"))
		must.StrContains(c.t, c.exec(alloc, "counter", "env"), "NOMAD_TASK_NAME=counter\n")

		must.StrContains(c.t, execTerminal(c, alloc), "40 132")
		execCommandLine(c, alloc)
	})
}

// execInput runs a command with input and without terminal.
func execInput(c *cluster, alloc *api.Allocation, input string, command ...string) string {
	var stdout, stderr bytes.Buffer
	code, err := c.Client().Allocations().Exec(c.ctx, alloc, "counter", false, command,
		strings.NewReader(input), &stdout, &stderr, nil, nil)
	must.NoError(c.t, err)
	must.Zero(c.t, code, must.Sprint(stderr.String()))
	return stdout.String()
}

// execTerminal has a terminal of 40 lines and 132 columns tell its size.
func execTerminal(c *cluster, alloc *api.Allocation) string {
	sizes := make(chan api.TerminalSize, 1)
	sizes <- api.TerminalSize{Height: 40, Width: 132}
	var stdout, stderr bytes.Buffer
	// The size may come after the start: look until it is there.
	script := `test -t 0 && test -t 1 || exit 9; until [ "$(stty size)" != "0 0" ]; do :; done; stty size`
	code, err := c.Client().Allocations().Exec(c.ctx, alloc, "counter", true, []string{"sh", "-c", script},
		strings.NewReader(""), &stdout, &stderr, sizes, nil)
	must.NoError(c.t, err)
	must.Zero(c.t, code, must.Sprint(stdout.String()))
	return stdout.String()
}

// execCommandLine uses nomad itself at a terminal, as a person would.
func execCommandLine(c *cluster, alloc *api.Allocation) {
	pty, slavePath, err := console.NewPty()
	must.NoError(c.t, err)
	defer pty.Close()
	slave, err := os.OpenFile(slavePath, os.O_RDWR, 0)
	must.NoError(c.t, err)

	cmd := exec.CommandContext(c.ctx, c.Nomad(), "alloc", "exec", "-i", "-t", "-task", "counter", alloc.ID, "sh")
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+c.Address())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	must.NoError(c.t, cmd.Start())
	must.NoError(c.t, slave.Close())

	var screen bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() {
		// It ends with an error when the last holder of the slave has gone.
		_, _ = screen.ReadFrom(pty)
	})
	_, err = pty.Write([]byte("test -t 0 && echo at-a-termina'l'; exit 5\n"))
	must.NoError(c.t, err)
	err = cmd.Wait()
	reader.Wait()
	must.Error(c.t, err)
	must.Eq(c.t, 5, cmd.ProcessState.ExitCode(), must.Sprint(screen.String()))
	must.StrContains(c.t, screen.String(), "at-a-terminal\r\n")
}

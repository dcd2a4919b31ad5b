package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

func TestExec(t *testing.T) {
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)

		result, err := c.Exec(c.ctx, alloc, "counter", "sh", "-c", "echo out; echo err >&2; exit 4")
		must.NoError(c.t, err)
		must.Eq(c.t, agent.Result{Stdout: "out\n", Stderr: "err\n", Code: 4}, result)

		must.Eq(c.t, "line\n", execInput(c, alloc, "line\n", "cat"))
		must.StrContains(c.t, c.exec(alloc, "counter", "env"), "NOMAD_TASK_NAME=counter\n")

		must.StrContains(c.t, execTerminal(c, alloc), "40 132")
		execCommandLine(c, alloc, c.Address())
	})
}

// TestCrun_ExecutedOnce checks that crun is executed once per command, from a copy that the plugin
// keeps open.
func TestCrun_ExecutedOnce(t *testing.T) {
	t.Parallel()
	c := shareAgent(t, "crun")
	alloc := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
	plugins, err := c.PluginPIDs()
	must.NoError(t, err)
	copies := map[uint64]bool{}
	for _, plugin := range plugins {
		open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", plugin))
		must.NoError(t, err)
		for _, fd := range open {
			if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "/memfd:crun") {
				copies[inode(fd)] = true
			}
		}
	}
	must.MapLen(t, 1, copies)

	stdin, more := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Client().Allocations().Exec(c.ctx, alloc, "counter", false, []string{"cat"}, stdin, io.Discard, io.Discard, nil, nil)
		ended <- err
	}()
	c.eventually("crun runs from the plugin's copy", func() error {
		all, err := procfs.AllProcs()
		must.NoError(t, err)
		for _, p := range all {
			if stat, err := p.Stat(); err == nil && stat.Comm == "crun" && slices.Contains(plugins, stat.PPID) {
				if copies[inode(fmt.Sprintf("/proc/%d/exe", p.PID))] {
					return nil
				}
			}
		}
		return errors.New("no process runs the plugin's copy")
	})
	must.NoError(t, more.Close())
	must.NoError(t, <-ended)
}

// inode returns the inode of a file, or 0.
func inode(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Ino
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

// execTerminal returns the size of a terminal of 40 lines and 132 columns, as printed by a command.
func execTerminal(c *cluster, alloc *api.Allocation) string {
	sizes := make(chan api.TerminalSize, 1)
	sizes <- api.TerminalSize{Height: 40, Width: 132}
	var stdout, stderr bytes.Buffer
	// The size may arrive after the start, so poll for it.
	script := `test -t 0 && test -t 1 || exit 9; until [ "$(stty size)" != "0 0" ]; do :; done; stty size`
	code, err := c.Client().Allocations().Exec(c.ctx, alloc, "counter", true, []string{"sh", "-c", script},
		strings.NewReader(""), &stdout, &stderr, sizes, nil)
	must.NoError(c.t, err)
	must.Zero(c.t, code, must.Sprint(stdout.String()))
	return stdout.String()
}

// execCommandLine runs the nomad command on a terminal, with the API at an address.
func execCommandLine(c *cluster, alloc *api.Allocation, address string) {
	pty, slavePath, err := console.NewPty()
	must.NoError(c.t, err)
	defer pty.Close()
	slave, err := os.OpenFile(slavePath, os.O_RDWR, 0)
	must.NoError(c.t, err)

	cmd := exec.CommandContext(c.ctx, c.Nomad(), "alloc", "exec", "-i", "-t", "-task", "counter", alloc.ID, "sh")
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+address, "NOMAD_NAMESPACE="+c.Namespace())
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

// TestDebugContainer checks that a debug container is removed when its client exits, even if the
// plugin was killed, and that the task is not affected.
func TestDebugContainer(t *testing.T) {
	onOwnAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
		before := c.identities(alloc, "counter")
		look := []string{"pod-debug", "sh", "-c", "ls $POD_TASK_ROOT/alloc; cat /proc/$POD_TASK_PID/status"}
		out := c.exec(alloc, "counter", look...)
		must.StrContains(c.t, out, "logs\n")
		must.StrContains(c.t, out, "NSpid:")

		go func() { // ends with the plugin
			_, _ = c.Exec(c.ctx, alloc, "counter", "pod-debug", "sleep", "600")
		}()
		c.eventually("the debug container runs", func() error { return c.checkDebugContainers(alloc, 1) })
		must.NoError(c.t, c.KillPlugin())
		c.awaitPlugin()
		c.eventually("the debug container is removed", func() error { return c.checkDebugContainers(alloc, 0) })
		c.eventually("the driver has recovered the task", func() error {
			_, err := c.Exec(c.ctx, alloc, "counter", "true")
			return err
		})
		must.Eq(c.t, before, c.identities(alloc, "counter"))
	})
}

// checkDebugContainers checks the number of debug containers of an allocation.
func (c *cluster) checkDebugContainers(alloc *api.Allocation, want int) error {
	all, err := procfs.AllProcs()
	must.NoError(c.t, err)
	found := map[string]bool{}
	for _, p := range all {
		groups, _ := p.Cgroups() // empty if the process has exited
		for _, g := range groups {
			if strings.Contains(g.Path, alloc.ID) && strings.Contains(g.Path, ".debug-") {
				found[path.Base(g.Path)] = true
			}
		}
	}
	if len(found) != want {
		return fmt.Errorf("%d debug containers", len(found))
	}
	return nil
}

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/shippertest"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

const (
	shippedLines = 40_000 // per stream

	// unterminated is the last message of the job. Its line has no newline.
	unterminated = "the end"
)

// logDestination is the destination of shipped logs, with a function that reads them.
type logDestination struct {
	sink  string
	lines func(c *cluster, alloc *api.Allocation) ([]shippertest.Line, error)
}

// TestLogShipper kills and restarts the shipper while a task writes and files are rotated, and
// checks that every line of both streams arrives once and in order.
func TestLogShipper(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		for name, to := range map[string]logDestination{"http": overHTTP(c.t), "syslog": overSyslog(c.t), "file": intoFile()} {
			c.t.Run(name, func(t *testing.T) {
				t.Parallel()
				checkEveryLineShipped(&cluster{c.Agent, t, c.ctx}, name, to)
			})
		}
	})
}

func overHTTP(t *testing.T) logDestination {
	receiver := &shippertest.Receiver{}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	return logDestination{server.URL, func(*cluster, *api.Allocation) ([]shippertest.Line, error) { return receiver.HTTPLines() }}
}

func overSyslog(t *testing.T) logDestination {
	t.Helper()
	receiver := &shippertest.Receiver{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { receiver.ServeSyslog(l) })
	t.Cleanup(func() {
		must.NoError(t, l.Close())
		serving.Wait()
	})
	return logDestination{"syslog+tcp://" + l.Addr().String(), func(*cluster, *api.Allocation) ([]shippertest.Line, error) { return receiver.SyslogLines() }}
}

// intoFile ships to a file in the allocation's directory, which is rotated.
func intoFile() logDestination {
	return logDestination{"file:///alloc/data/all.log", func(c *cluster, alloc *api.Allocation) ([]shippertest.Line, error) {
		path := filepath.Join(c.Dir(), "nomad", "client", "alloc", alloc.ID, "alloc", "data", "all.log")
		var text strings.Builder
		for n := 50; n >= 0; n-- {
			name := fmt.Sprintf("%s.%d", path, n)
			if n == 0 {
				name = path
			}
			part, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			text.Write(part)
		}
		return shippertest.FromJSON(text.String())
	}}
}

func checkEveryLineShipped(c *cluster, name string, to logDestination) {
	job := filepath.Join(c.t.TempDir(), "shipped.nomad.hcl")
	text := testdata(c.t, "shipped.nomad.hcl", "NAME", name, "SINK", to.sink, "LINES", fmt.Sprint(shippedLines))
	must.NoError(c.t, os.WriteFile(job, []byte(text), 0o644))
	alloc := c.run(inject(c.t, job), api.AllocClientStatusRunning)
	arrived := func(n int) {
		c.eventually(fmt.Sprintf("%d lines have arrived", n), func() error {
			lines, err := to.lines(c, alloc)
			if err == nil && len(lines) < n {
				err = fmt.Errorf("%d lines", len(lines))
			}
			return err
		})
	}

	arrived(shippedLines / 8)
	must.NoError(c.t, syscall.Kill(c.first(alloc, "log-shipper").PID, syscall.SIGKILL))
	c.waitRestarts(alloc, 1)
	arrived(shippedLines / 2)
	must.NoError(c.t, c.Client().Allocations().Restart(alloc, "log-shipper", nil))
	c.waitRestarts(alloc, 2)
	arrived(2 * shippedLines)
	_, _, err := c.Client().AllocFS().Stat(alloc, "alloc/logs/app.stdout.2", nil)
	must.NoError(c.t, err, must.Sprint("rotated log file"))
	must.Zero(c.t, c.restarts(alloc, "app"))

	// The unterminated line is shipped when the task has ended.
	_, _, err = c.Client().Jobs().Deregister(name, false, nil)
	must.NoError(c.t, err)
	c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
	lines, err := to.lines(c, alloc)
	must.NoError(c.t, err)
	must.Eq(c.t, unterminated, lines[len(lines)-1].Message)
	counted, err := shippertest.Counted(lines[:len(lines)-1])
	must.NoError(c.t, err)
	must.Eq(c.t, map[string]int{"app stdout": shippedLines, "app stderr": shippedLines}, counted)
}

func (c *cluster) restarts(alloc *api.Allocation, task string) uint64 {
	c.t.Helper()
	alloc, err := c.Alloc(alloc.ID)
	must.NoError(c.t, err)
	return alloc.TaskStates[task].Restarts
}

// waitRestarts waits until the shipper was restarted n times and is running.
func (c *cluster) waitRestarts(alloc *api.Allocation, n uint64) {
	c.t.Helper()
	c.waitTask(alloc.ID, "log-shipper", func(s *api.TaskState) error {
		if s.Restarts < n || s.State != "running" {
			return fmt.Errorf("state %s after %d restarts", s.State, s.Restarts)
		}
		return nil
	})
}

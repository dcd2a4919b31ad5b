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
	shippedLines = 40_000 // on each stream

	// unended is what the job writes last, in the form of syslog.
	unended = "the end"
)

// shippingTo is where a pod ships its logs, and what arrived there.
type shippingTo struct {
	sink  string
	lines func(c *cluster, alloc *api.Allocation) ([]shippertest.Line, error)
}

// TestLogShipper kills and restarts the shipper while a task writes and files are rotated, and checks
// that every line of both streams arrives once and in order.
func TestLogShipper(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		for name, to := range map[string]shippingTo{"http": overHTTP(c.t), "syslog": overSyslog(c.t), "file": intoFile()} {
			c.t.Run(name, func(t *testing.T) {
				t.Parallel()
				shipsEveryLineOnce(&cluster{c.Agent, t, c.ctx}, name, to)
			})
		}
	})
}

func overHTTP(t *testing.T) shippingTo {
	receiver := &shippertest.Receiver{}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	return shippingTo{server.URL, func(*cluster, *api.Allocation) ([]shippertest.Line, error) { return receiver.HTTPLines() }}
}

func overSyslog(t *testing.T) shippingTo {
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
	return shippingTo{"syslog+tcp://" + l.Addr().String(), func(*cluster, *api.Allocation) ([]shippertest.Line, error) { return receiver.SyslogLines() }}
}

// intoFile ships into the allocation's directory, with full files beside it.
func intoFile() shippingTo {
	return shippingTo{"file:///alloc/data/all.log", func(c *cluster, alloc *api.Allocation) ([]shippertest.Line, error) {
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

func shipsEveryLineOnce(c *cluster, name string, to shippingTo) {
	job := filepath.Join(c.t.TempDir(), "shipped.nomad.hcl")
	text := testdata(c.t, "shipped.nomad.hcl", "NAME", name, "SINK", to.sink, "LINES", fmt.Sprint(shippedLines))
	must.NoError(c.t, os.WriteFile(job, []byte(text), 0o644))
	alloc := c.run(inject(c.t, job), api.AllocClientStatusRunning)
	arrived := func(n int) {
		c.eventually(fmt.Sprintf("%d lines have arrived", n), func() error {
			lines, err := to.lines(c, alloc)
			if err == nil && len(lines) < n {
				err = fmt.Errorf("it is %d", len(lines))
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
	must.NoError(c.t, err, must.Sprint("the logs were rotated"))
	must.Zero(c.t, c.restarts(alloc, "app"))

	// The line without an end goes when it is known to have none.
	_, _, err = c.Client().Jobs().Deregister(name, false, nil)
	must.NoError(c.t, err)
	c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
	lines, err := to.lines(c, alloc)
	must.NoError(c.t, err)
	must.Eq(c.t, unended, lines[len(lines)-1].Message)
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

// waitRestarts waits until the shipper runs again.
func (c *cluster) waitRestarts(alloc *api.Allocation, n uint64) {
	c.t.Helper()
	c.waitTask(alloc.ID, "log-shipper", func(s *api.TaskState) error {
		if s.Restarts < n || s.State != "running" {
			return fmt.Errorf("it is %s after %d restarts", s.State, s.Restarts)
		}
		return nil
	})
}

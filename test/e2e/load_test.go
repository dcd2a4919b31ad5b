package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// load describes the output of tasks whose helper processes are killed.
type load struct {
	name            string
	tasks           int
	lines, width    int // per task
	burst           int // lines per write
	every           time.Duration
	files, megabyte int // number of log files and their size
}

// loads returns small loads by default, or full loads for POD_TEST_LOAD seconds.
func loads(t *testing.T) []load {
	text := os.Getenv("POD_TEST_LOAD")
	if text == "" {
		return []load{
			{name: "many tasks", tasks: 8, lines: 16_000, width: 100, burst: 20, every: 10 * time.Millisecond, files: 5, megabyte: 1},
			{name: "one task", tasks: 1, lines: 1_000_000, width: 100, burst: 1000, every: 10 * time.Millisecond, files: 20, megabyte: 10},
		}
	}
	seconds, err := strconv.Atoi(text)
	must.NoError(t, err)
	return []load{
		// 1,000 lines each second. Writers that wake up more often would use most of the
		// processors.
		{name: "many tasks", tasks: 200, lines: 1000 * seconds, width: 50, burst: 50, every: 50 * time.Millisecond, files: 10, megabyte: 1},
		// 100 MB each second.
		{name: "one task", tasks: 1, lines: 1_000_000 * seconds, width: 100, burst: 10_000, every: 10 * time.Millisecond, files: seconds + 5, megabyte: 100},
	}
}

// TestLogs_UnderLoad kills the log collector, the plugin, the client or all of them in random
// order while tasks write fast, and checks that each line is in the files once and in order, that
// the files respect their limits, that no task restarts, and that each ends with its exit code.
func TestLogs_UnderLoad(t *testing.T) {
	all := loads(t)
	lines := t.TempDir()
	must.NoError(t, os.Chmod(lines, 0o755))
	build(t, lines, "test/cmd/numberedlines")
	exclusively(t, matrix.One(), func(c *cluster) {
		seed := uint64(time.Now().UnixNano())
		c.t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for _, l := range all {
			c.sub(l.name, func(c *cluster) { c.runLoad(l, random, lines) })
		}
	}, func(o *agent.Options) { o.HostPaths = append(o.HostPaths, lines+":/opt/lines") })
}

// runLoad runs tasks that begin to write when all of them run. dir contains their program.
func (c *cluster) runLoad(l load, random *rand.Rand, dir string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Minute)
	defer cancel()
	c.ctx = ctx
	// Use a separate job, so that no other test uses its allocations.
	job := strings.ReplaceAll(l.name, " ", "-")
	c.start(testdata(c.t, "lines.nomad.hcl", "JOB", job, "COUNT", fmt.Sprint(l.tasks),
		"WHAT", fmt.Sprintf("-lines %d -width %d -burst %d -every %s -when /opt/lines/%s", l.lines, l.width, l.burst, l.every, job),
		"MAX_FILES", fmt.Sprint(l.files), "MAX_SIZE", fmt.Sprint(l.megabyte)))
	// If a client is killed before it has saved that a task started, it starts the task again.
	c.progress(job, l.tasks, func(a *api.AllocationListStub) bool {
		return a.ClientStatus == api.AllocClientStatusRunning || ended(a)
	})
	must.NoError(c.t, os.WriteFile(filepath.Join(dir, job), nil, 0o644))
	defer os.Remove(filepath.Join(dir, job)) // tasks of the next runtime must wait as well
	kills := map[string]int{}
	began := time.Now()
	for allocs := c.allocs(job, l.tasks); c.farFromEnd(allocs, l); {
		kills[c.killOne(random)]++
		c.awaitRecovered(job, l.tasks)
		c.awaitLogGrowth(allocs[random.IntN(len(allocs))].ID)
	}
	c.awaitAllEnded(job, l.tasks)
	took := time.Since(began)
	var bytes int64
	for _, alloc := range c.allocs(job, l.tasks) {
		state := alloc.TaskStates["lines"]
		detail := must.Sprintf("allocation %s: %s", alloc.ID, agent.Events(&api.Allocation{TaskStates: alloc.TaskStates}))
		must.Eq(c.t, 0, state.Restarts, detail)
		must.Eq(c.t, 7, exitCode(state), detail)
		bytes += c.everyLineOnce(alloc.ID, l)
	}
	c.t.Logf("%d tasks, %d lines each: %d MB within %s, no line lost; killed: %v",
		l.tasks, l.lines, bytes/1e6, took.Round(time.Second), kills)
	_, _, err := c.Client().Jobs().Deregister(job, true, nil)
	must.NoError(c.t, err)
}

// farFromEnd reports whether all tasks still have much to write. If a task ends while both the
// plugin and the collector are dead, its last output is lost; and if the plugin dies right after
// a task, Nomad does not destroy the task, and the driver does so only minutes later.
func (c *cluster) farFromEnd(allocs []*api.AllocationListStub, l load) bool {
	most := int64(l.lines) * int64(l.width) * 6 / 10
	for _, alloc := range allocs {
		if logBytes(c.SharedDir(alloc.ID)) > most {
			return false
		}
	}
	return true
}

// killOne kills a process and waits until it is replaced.
func (c *cluster) killOne(random *rand.Rand) (name string) {
	c.t.Helper()
	client := func() { must.NoError(c.t, c.Kill(c.ctx)) }
	launch := func() { must.NoError(c.t, c.Launch(c.ctx)) }
	// The process may not exist: the client restarts plugins, and the collector exits with the last
	// task.
	plugin := func() { _ = c.KillPlugin() }
	collector := func() { _ = c.KillCollector() }
	all := []struct {
		name string
		kill func()
	}{
		{"collector", collector},
		{"plugin", plugin},
		{"collector and plugin", func() { collector(); plugin() }},
		{"client", func() { client(); launch() }},
		{"client, in order", func() { must.NoError(c.t, c.Shutdown(c.ctx)); launch() }},
		{"all", func() { client(); plugin(); collector(); launch() }},
	}
	chosen := all[random.IntN(len(all))]
	chosen.kill()
	c.awaitPlugin()
	return chosen.name
}

// awaitRecovered waits until the driver has recovered all tasks. Nomad gives a task up if the
// plugin dies again during the recovery.
func (c *cluster) awaitRecovered(job string, n int) {
	c.t.Helper()
	since := time.Now()
	c.eventually("the driver has recovered all tasks", func() error { return c.RequireNewStats(c.ctx, c.allocs(job, n), since) })
}

// awaitLogGrowth waits until a task's log has grown or the task has ended.
func (c *cluster) awaitLogGrowth(id string) {
	c.t.Helper()
	before := logBytes(c.SharedDir(id))
	c.eventually("the log grows or its task ends", func() error {
		if logBytes(c.SharedDir(id)) > before {
			return nil
		}
		alloc, err := c.Alloc(id)
		if err == nil && alloc.ClientTerminalStatus() {
			return nil
		}
		return errors.Join(err, errors.New("log has not grown"))
	})
}

func logBytes(shared string) (sum int64) {
	paths, _ := filepath.Glob(filepath.Join(shared, "logs", "lines.stdout.*")) // the only error is a malformed pattern
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// allocs waits until a job has n allocations.
func (c *cluster) allocs(job string, n int) (allocs []*api.AllocationListStub) {
	c.t.Helper()
	c.eventually("all allocations exist", func() (err error) {
		allocs, _, err = c.Client().Jobs().Allocations(job, false, nil)
		if err == nil && len(allocs) != n {
			err = fmt.Errorf("%d of %d allocations", len(allocs), n)
		}
		return err
	})
	return allocs
}

func ended(a *api.AllocationListStub) bool {
	return a.ClientStatus == api.AllocClientStatusFailed || a.ClientStatus == api.AllocClientStatusComplete
}

func count[T any](all []T, what func(T) bool) (n int) {
	for _, one := range all {
		if what(one) {
			n++
		}
	}
	return n
}

func exitCode(s *api.TaskState) int {
	for _, e := range s.Events {
		if e.Type == api.TaskTerminated {
			return e.ExitCode
		}
	}
	return -1
}

// everyLineOnce checks that a task's files contain all lines in order, within the limits of their
// number and size, and returns their total size.
func (c *cluster) everyLineOnce(id string, l load) int64 {
	c.t.Helper()
	log := c.readLog(id)
	must.Eq(c.t, int64(l.lines), log.lines, must.Sprintf("lines of allocation %s", id))
	must.Eq(c.t, int64(l.lines*l.width), log.bytes, must.Sprint("bytes"))
	must.Less(c.t, int64(l.megabyte)<<20+1, log.largest, must.Sprint("size of a file"))
	must.Less(c.t, l.files+1, log.files, must.Sprint("files"))
	// A file may end below its maximum, since a line is not split.
	must.GreaterEq(c.t, log.bytes>>20/int64(l.megabyte), int64(log.files), must.Sprint("files: the log was not rotated"))
	return log.bytes
}

// writtenLog is the content of all log files of a task.
type writtenLog struct {
	lines, bytes, largest int64
	files                 int
}

// readLog reads a task's log files in the order of their numbers, and checks that the lines are
// consecutive.
func (c *cluster) readLog(id string) (log writtenLog) {
	c.t.Helper()
	for ; ; log.files++ {
		file, err := os.Open(filepath.Join(c.SharedDir(id), "logs", fmt.Sprintf("lines.stdout.%d", log.files)))
		if errors.Is(err, os.ErrNotExist) {
			return log
		}
		must.NoError(c.t, err)
		var size int64
		log.lines, size = c.numbered(file, log.lines)
		must.NoError(c.t, file.Close())
		log.largest = max(log.largest, size)
		log.bytes += size
	}
}

// numbered reads lines that continue after number n, and returns the number of the last line and
// the size.
func (c *cluster) numbered(from *os.File, n int64) (last, size int64) {
	c.t.Helper()
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		size += int64(len(line))
		if errors.Is(err, io.EOF) {
			must.SliceEmpty(c.t, line, must.Sprint("incomplete line"))
			return n, size
		}
		must.NoError(c.t, err)
		n++
		if got := strings.TrimLeft(string(bytes.TrimSuffix(line, []byte{'\n'})), "0"); got != strconv.FormatInt(n, 10) {
			must.Eq(c.t, strconv.FormatInt(n, 10), got, must.Sprintf("the next line of %s", from.Name()))
		}
	}
}

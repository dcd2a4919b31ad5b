package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/prometheus/procfs"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// rounds returns the numbers of kills and of pods: few by default, or POD_TEST_ROUNDS kills and
// 50 pods.
func rounds(t *testing.T) (rounds, pods int) {
	t.Helper()
	text := os.Getenv("POD_TEST_ROUNDS")
	if text == "" {
		return 4, 3
	}
	rounds, err := strconv.Atoi(text)
	must.NoError(t, err)
	return rounds, 50
}

// TestRestartRounds checks that no kill of a helper changes a task's process, loses or duplicates a
// line, or changes an exit code, and that a pod whose infra process or monitor is killed fails with
// the reason and is restarted.
func TestRestartRounds(t *testing.T) {
	n, pods := rounds(t)
	lines := t.TempDir()
	must.NoError(t, os.Chmod(lines, 0o755))
	build(t, lines, "test/cmd/numberedlines")
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		ctx, cancel := context.WithTimeout(c.t.Context(), atMost+time.Duration(n)*maxWait)
		defer cancel()
		c.ctx = ctx
		seed := uint64(time.Now().UnixNano())
		c.t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		c.start(testdata(c.t, "rounds.nomad.hcl", "COUNT", fmt.Sprint(pods)))
		c.awaitAllRunning("rounds", pods)
		victim := c.run(testdata(c.t, "victim.nomad.hcl"), api.AllocClientStatusRunning)
		allocs := c.allocs("rounds", pods)
		before := c.firstProcesses(allocs)
		must.MapLen(c.t, pods, before)

		kills := map[string]int{}
		for i := range n {
			kills[c.killOne(random)]++
			c.awaitRecovered("rounds", pods)
			kills[c.breakPod(victim.ID, random)]++
			must.Eq(c.t, before, c.firstProcesses(allocs), must.Sprintf("round %d", i+1))
			c.awaitLogGrowth(allocs[random.IntN(pods)].ID)
			if (i+1)%20 == 0 {
				c.t.Logf("%d rounds: %v", i+1, kills)
			}
		}
		total := c.endRounds(allocs)
		c.t.Logf("%d rounds over %d pods, %d lines: no task lost, no line lost or doubled, no other code; killed: %v", n, pods, total, kills)
	}, func(o *agent.Options) { o.HostPaths = append(o.HostPaths, lines+":/opt/lines") })
}

// firstProcesses returns the PID and start time of the oldest process of each allocation.
func (c *cluster) firstProcesses(allocs []*api.AllocationListStub) map[string]string {
	c.t.Helper()
	all, err := procfs.AllProcs()
	must.NoError(c.t, err)
	oldest := map[string]procfs.ProcStat{}
	for _, p := range all {
		groups, err := p.Cgroups()
		if err != nil {
			continue // the process has exited
		}
		stat, err := p.Stat()
		if err != nil || stat.Comm == "conmon" {
			continue
		}
		for _, alloc := range allocs {
			if !strings.Contains(fmt.Sprint(groups), alloc.ID+".lines") {
				continue
			}
			if first, ok := oldest[alloc.ID]; !ok || stat.Starttime < first.Starttime || stat.Starttime == first.Starttime && stat.PID < first.PID {
				oldest[alloc.ID] = stat
			}
		}
	}
	ids := map[string]string{}
	for id, stat := range oldest {
		ids[id] = fmt.Sprintf("%d@%d", stat.PID, stat.Starttime)
	}
	return ids
}

// breakPod kills a process that a pod requires, and waits until its task runs again.
func (c *cluster) breakPod(id string, random *rand.Rand) (killed string) {
	c.t.Helper()
	restarts := func() uint64 {
		alloc, err := c.Alloc(id)
		must.NoError(c.t, err)
		return alloc.TaskStates["victim"].Restarts
	}
	before := restarts()
	killed = []string{"monitor", "holder"}[random.IntN(2)]
	must.NoError(c.t, unix.Kill(c.podProcess(id, killed), unix.SIGKILL))
	c.eventually("the broken pod runs again", func() error {
		alloc, err := c.Alloc(id)
		if err != nil {
			return err
		}
		if state := alloc.TaskStates["victim"]; state.State != "running" || state.Restarts != before+1 {
			return fmt.Errorf("the task is %s after %d restarts: %s", state.State, state.Restarts, agent.Events(alloc))
		}
		return nil
	})
	return killed
}

// podProcess returns the PID of the pod's infra process or of the monitor of its only task.
func (c *cluster) podProcess(id, part string) (pid int) {
	c.t.Helper()
	all, err := procfs.AllProcs()
	must.NoError(c.t, err)
	for _, p := range all {
		args, _ := p.CmdLine() // empty if the process has exited
		groups, _ := p.Cgroups()
		switch {
		case part == "monitor" && len(args) > 0 && filepath.Base(args[0]) == "conmon" && strings.Contains(strings.Join(args, " "), id),
			part == "holder" && strings.Contains(fmt.Sprint(groups), id+"/holder"):
			return p.PID
		}
	}
	c.t.Fatalf("allocation %s has no %s process", id, part)
	return 0
}

// endRounds ends all tasks and returns the number of lines they have written.
func (c *cluster) endRounds(allocs []*api.AllocationListStub) (lines int64) {
	c.t.Helper()
	stop := func(id string) string { return filepath.Join(c.SharedDir(id), "data", "stop") }
	for _, alloc := range allocs {
		file := stop(alloc.ID) + ".new" // the task may write to the file as soon as it has its final name
		must.NoError(c.t, os.WriteFile(file, nil, 0o600))
		must.NoError(c.t, os.Chmod(file, 0o666)) // regardless of the umask
		must.NoError(c.t, os.Rename(file, stop(alloc.ID)))
	}
	c.awaitAllEnded("rounds", len(allocs))
	for _, alloc := range c.allocs("rounds", len(allocs)) {
		state := alloc.TaskStates["lines"]
		detail := must.Sprintf("%s: %s", alloc.Name, agent.Events(&api.Allocation{TaskStates: alloc.TaskStates}))
		must.Eq(c.t, 0, state.Restarts, detail)
		must.StrHasSuffix(c.t, fmt.Sprintf("[%d]", exitCode(state)-3), alloc.Name, detail)
		written, err := os.ReadFile(stop(alloc.ID))
		must.NoError(c.t, err)
		log := c.readLog(alloc.ID)
		must.Eq(c.t, string(written), fmt.Sprint(log.lines), detail)
		lines += log.lines
	}
	return lines
}

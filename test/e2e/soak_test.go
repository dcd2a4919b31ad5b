package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// soakFor returns the duration for each runtime: a few actions by default, or half of
// POD_TEST_SOAK_FOR.
func soakFor(t *testing.T) (actions int, length time.Duration) {
	t.Helper()
	text := os.Getenv("POD_TEST_SOAK_FOR")
	if text == "" {
		return 8, 0
	}
	length, err := time.ParseDuration(text)
	must.NoError(t, err)
	return 0, length / 2
}

// soakSeed returns the seed of the random actions: POD_TEST_SEED, or a random one.
func soakSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("POD_TEST_SEED"); text != "" {
		_, err := fmt.Sscan(text, &seed)
		must.NoError(t, err)
	}
	return seed
}

// TestSoak performs random actions of users, clients and hosts, and checks that other tasks
// continue as the same processes, and that in the end no line is lost and nothing is left behind.
func TestSoak(t *testing.T) {
	actions, length := soakFor(t)
	dir := t.TempDir()
	must.NoError(t, os.Chmod(dir, 0o755))
	build(t, dir, "test/cmd/numberedlines")
	image := testimage.Layout(t, t.TempDir(), testimage.New(t))
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		ctx, cancel := context.WithTimeout(c.t.Context(), atMost+2*length)
		defer cancel()
		c.ctx = ctx
		seed := soakSeed(c.t)
		c.t.Logf("seed %d", seed)
		s := &soak{cluster: c, random: rand.New(rand.NewPCG(seed, 0)), dir: dir, image: image, done: map[string]int{}}
		s.begin(3)
		begin := time.Now()
		for s.actions < actions || time.Since(begin) < length {
			s.act()
		}
		total := s.endRounds(s.allocs("rounds", 3))
		c.t.Logf("%d actions in %s, %d lines of tasks that none of them changed: %v; at the start %v, at the end %v",
			s.actions, time.Since(begin).Round(time.Second), total, s.done, s.first, s.last)
	}, func(o *agent.Options) {
		o.HostPaths = append(o.HostPaths, dir+":/opt/lines")
		o.Runtime = hangOnce(t, dir, o.Runtime)
	})
}

// soak is a cluster on which random actions are performed.
type soak struct {
	*cluster
	random      *rand.Rand
	dir, image  string
	pods        []*api.AllocationListStub // must not be affected
	before      map[string]string         // their first processes
	victim      string
	actions     int
	done        map[string]int
	first, last resourceUse
}

// begin starts the pods that must survive, and the victim.
func (s *soak) begin(pods int) {
	s.run(testdata(s.t, "rounds.nomad.hcl", "COUNT", fmt.Sprint(pods)), api.AllocClientStatusRunning)
	s.awaitAllRunning("rounds", pods)
	s.victim = s.run(testdata(s.t, "victim.nomad.hcl"), api.AllocClientStatusRunning).ID
	s.pods = s.allocs("rounds", pods)
	s.before = s.firstProcesses(s.pods)
	must.MapLen(s.t, pods, s.before)
	s.first = s.measure()
}

// act performs one action, and checks that everything else is unchanged.
func (s *soak) act() {
	s.t.Helper()
	all := []struct {
		name string
		do   func()
	}{
		{"killed", func() { s.killOne(s.random); s.awaitRecovered("rounds", len(s.pods)) }},
		{"broken", func() { s.breakPod(s.victim, s.random) }},
		{"ended", s.end},
		{"refused", s.refused},
		{"from an image", s.fromImage},
		{"cut off", s.cutOff},
		{"stuck", s.stuck},
		{"ordered", s.ordered},
		{"looked into", s.execInTask},
	}
	s.actions++
	chosen := all[s.random.IntN(len(all))]
	chosen.do()
	s.done[chosen.name]++
	detail := must.Sprintf("action %d: %s", s.actions, chosen.name)
	must.Eq(s.t, s.before, s.firstProcesses(s.pods), detail)
	s.awaitLogGrowth(s.pods[s.random.IntN(len(s.pods))].ID)
	s.last = s.measure()
	if s.actions%20 == 0 {
		s.t.Logf("%d actions: %v; %v", s.actions, s.done, s.last)
	}
}

// name returns the ID of the current action's job.
func (s *soak) name() string { return fmt.Sprintf("soak-%d", s.actions) }

// end runs a task that exits without being stopped.
func (s *soak) end() {
	ends := []struct {
		command string
		want    end
	}{
		{"exit 0", end{}},
		{"exit 7", end{code: 7}},
		{"kill -TERM $$; sleep 60", end{code: 143, signal: 15}},
		{"exec tail /dev/zero", end{code: 137, signal: 9, oom: true}},
		{"sleep 1000 & exit 3", end{code: 3}},
	}
	e := ends[s.random.IntN(len(ends))]
	hcl := testdata(s.t, "once.nomad.hcl", "NAME", s.name(), "COMMAND", "/bin/sh", "ARGS", fmt.Sprintf(`"-c", %q`, e.command), "SHARE", `"pid"`)
	alloc := s.run(hcl, api.AllocClientStatusComplete, api.AllocClientStatusFailed)
	must.Eq(s.t, e.want, endOf(s.t, alloc), must.Sprint(e.command, ": ", agent.Events(alloc)))
	s.deregister(s.name(), true)
}

// refused runs a task that cannot start.
func (s *soak) refused() {
	configs := []string{`command = "/no/such/program"`, `command = "/bin/true"
		colour = "red"`, `image = "oci:/no/such/layout:x"`}
	hcl := testdata(s.t, "config.nomad.hcl", "NAME", s.name(), "CONFIG", configs[s.random.IntN(len(configs))])
	s.run(hcl, api.AllocClientStatusFailed)
	s.deregister(s.name(), true)
}

// fromImage runs a task from an image.
func (s *soak) fromImage() {
	s.stop(s.name(), s.run(s.imageJob(), api.AllocClientStatusRunning).ID)
}

func (s *soak) imageJob() string {
	return testdata(s.t, "config.nomad.hcl", "NAME", s.name(), "CONFIG", fmt.Sprintf(`image = %q
		args = ["-P"]`, s.image))
}

// cutOff kills the plugin at a random time after Nomad has received the task. Earlier, the
// allocation would fail.
func (s *soak) cutOff() {
	alloc, err := s.RunJob(s.ctx, s.imageJob())
	must.NoError(s.t, err)
	s.eventually("Nomad has received the task", func() error {
		alloc, err := s.Alloc(alloc.ID)
		if err == nil && len(alloc.TaskStates) == 0 && !alloc.ClientTerminalStatus() {
			err = errors.New("task has no state")
		}
		return err
	})
	<-time.After(time.Duration(s.random.IntN(300)) * time.Millisecond) // random delay before the kill
	_ = s.KillPlugin()
	s.awaitPlugin()
	s.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
	s.awaitRecovered("rounds", len(s.pods))
	s.stop(s.name(), alloc.ID)
}

// stuck kills the plugin while the runtime hangs during a start.
func (s *soak) stuck() {
	armed, stuck := filepath.Join(s.dir, "armed"), filepath.Join(s.dir, "stuck")
	must.NoError(s.t, os.WriteFile(armed, nil, 0o600))
	alloc, err := s.RunJob(s.ctx, s.imageJob())
	must.NoError(s.t, err)
	s.eventually("the start is stuck", func() error { _, err := os.Stat(stuck); return err })
	must.NoError(s.t, os.Remove(stuck))
	must.NoError(s.t, s.KillPlugin())
	s.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
	s.awaitRecovered("rounds", len(s.pods))
	s.stop(s.name(), alloc.ID)
}

// ordered runs a group whose tasks start in order.
func (s *soak) ordered() {
	job, err := os.ReadFile(filepath.Join(repository, "jobs", "examples", "ordered.nomad.hcl"))
	must.NoError(s.t, err)
	alloc := s.run(string(job), api.AllocClientStatusRunning)
	s.waitTask(alloc.ID, "app", func(state *api.TaskState) error {
		if state.State != "running" {
			return fmt.Errorf("task is %s", state.State)
		}
		return nil
	})
	s.stop("ordered", alloc.ID)
}

// execInTask runs a command in a task.
func (s *soak) execInTask() {
	pod := s.pods[s.random.IntN(len(s.pods))]
	alloc, err := s.Alloc(pod.ID)
	must.NoError(s.t, err)
	must.Eq(s.t, pod.ID+"\n", s.exec(alloc, "lines", "/bin/sh", "-c", "echo $NOMAD_ALLOC_ID"))
}

// stop stops a job and makes Nomad remove its allocation. A client that is killed while it removes
// the network of an ended allocation never does so later (nomad#11096).
func (s *soak) stop(job, id string) {
	s.t.Helper()
	s.deregister(job, false)
	s.waitAlloc(id, api.AllocClientStatusComplete)
	s.eventually("Nomad has removed the network", func() error {
		_, err := os.Stat(filepath.Join("/run/netns", id))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return cmp.Or(err, errors.New("network still exists"))
	})
	s.deregister(job, true)
}

func (s *soak) deregister(job string, purge bool) {
	s.t.Helper()
	_, _, err := s.Client().Jobs().Deregister(job, purge, nil)
	must.NoError(s.t, err)
}

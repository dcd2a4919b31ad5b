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
func soakFor(t *testing.T) (steps int, length time.Duration) {
	t.Helper()
	text := os.Getenv("POD_TEST_SOAK_FOR")
	if text == "" {
		return 8, 0
	}
	length, err := time.ParseDuration(text)
	must.NoError(t, err)
	return 0, length / 2
}

// soakSeed is where the random steps come from; POD_TEST_SEED repeats them.
func soakSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("POD_TEST_SEED"); text != "" {
		_, err := fmt.Sscan(text, &seed)
		must.NoError(t, err)
	}
	return seed
}

// TestSoak performs random actions of users, clients and hosts, and checks that other tasks continue as
// the same processes, and that in the end no line is lost and nothing is left behind.
func TestSoak(t *testing.T) {
	steps, length := soakFor(t)
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
		for s.steps < steps || time.Since(begin) < length {
			s.step()
		}
		total := s.endRounds(s.allocs("rounds", 3))
		c.t.Logf("%d steps in %s, %d lines of tasks that none of them changed: %v; at the start %v, at the end %v",
			s.steps, time.Since(begin).Round(time.Second), total, s.done, s.first, s.last)
	}, func(o *agent.Options) {
		o.HostPaths = append(o.HostPaths, dir+":/opt/lines")
		o.Runtime = stuckOnce(t, dir, o.Runtime)
	})
}

// soak is a cluster where things happen.
type soak struct {
	*cluster
	random      *rand.Rand
	dir, image  string
	pods        []*api.AllocationListStub // that nothing may change
	before      map[string]string         // their first processes
	victim      string
	steps       int
	done        map[string]int
	first, last use
}

// begin runs the pods that are to outlive all, and the one that is broken.
func (s *soak) begin(pods int) {
	s.run(testdata(s.t, "rounds.nomad.hcl", "COUNT", fmt.Sprint(pods)), api.AllocClientStatusRunning)
	s.allRun("rounds", pods)
	s.victim = s.run(testdata(s.t, "victim.nomad.hcl"), api.AllocClientStatusRunning).ID
	s.pods = s.allocs("rounds", pods)
	s.before = s.firstProcesses(s.pods)
	must.MapLen(s.t, pods, s.before)
	s.first = s.use()
}

// step performs one action, and checks that everything else is unchanged.
func (s *soak) step() {
	s.t.Helper()
	all := []struct {
		name string
		do   func()
	}{
		{"killed", func() { s.killOne(s.random); s.watched("rounds", len(s.pods)) }},
		{"broken", func() { s.breakPod(s.victim, s.random) }},
		{"ended", s.end},
		{"refused", s.refused},
		{"from an image", s.fromImage},
		{"cut off", s.cutOff},
		{"stuck", s.stuck},
		{"ordered", s.ordered},
		{"looked into", s.lookedInto},
	}
	s.steps++
	chosen := all[s.random.IntN(len(all))]
	chosen.do()
	s.done[chosen.name]++
	told := must.Sprintf("step %d: %s", s.steps, chosen.name)
	must.Eq(s.t, s.before, s.firstProcesses(s.pods), told)
	s.more(s.pods[s.random.IntN(len(s.pods))].ID)
	s.last = s.use()
	if s.steps%20 == 0 {
		s.t.Logf("%d steps: %v; %v", s.steps, s.done, s.last)
	}
}

// name is of a job of its own for each step.
func (s *soak) name() string { return fmt.Sprintf("soak-%d", s.steps) }

// end is a task that ends by itself.
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

// refused is a task that never starts.
func (s *soak) refused() {
	configs := []string{`command = "/no/such/program"`, `command = "/bin/true"
		colour = "red"`, `image = "oci:/no/such/layout:x"`}
	hcl := testdata(s.t, "config.nomad.hcl", "NAME", s.name(), "CONFIG", configs[s.random.IntN(len(configs))])
	s.run(hcl, api.AllocClientStatusFailed)
	s.deregister(s.name(), true)
}

// fromImage is a task with a layer of its own.
func (s *soak) fromImage() {
	s.stop(s.name(), s.run(s.imageJob(), api.AllocClientStatusRunning).ID)
}

func (s *soak) imageJob() string {
	return testdata(s.t, "config.nomad.hcl", "NAME", s.name(), "CONFIG", fmt.Sprintf(`image = %q
		args = ["-P"]`, s.image))
}

// cutOff is a start during which the plugin dies, at any moment after Nomad has
// asked it for one: without an answer to that the allocation fails.
func (s *soak) cutOff() {
	alloc, err := s.RunJob(s.ctx, s.imageJob())
	must.NoError(s.t, err)
	s.eventually("Nomad has received the task", func() error {
		alloc, err := s.Alloc(alloc.ID)
		if err == nil && len(alloc.TaskStates) == 0 && !alloc.ClientTerminalStatus() {
			err = errors.New("it has no state")
		}
		return err
	})
	<-time.After(time.Duration(s.random.IntN(300)) * time.Millisecond) // any moment is as good
	_ = s.KillPlugin()
	s.pluginRuns()
	s.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
	s.watched("rounds", len(s.pods))
	s.stop(s.name(), alloc.ID)
}

// stuck is a start during which the runtime hangs and the plugin dies.
func (s *soak) stuck() {
	armed, stuck := filepath.Join(s.dir, "armed"), filepath.Join(s.dir, "stuck")
	must.NoError(s.t, os.WriteFile(armed, nil, 0o600))
	alloc, err := s.RunJob(s.ctx, s.imageJob())
	must.NoError(s.t, err)
	s.eventually("the start is stuck", func() error { _, err := os.Stat(stuck); return err })
	must.NoError(s.t, os.Remove(stuck))
	must.NoError(s.t, s.KillPlugin())
	s.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
	s.watched("rounds", len(s.pods))
	s.stop(s.name(), alloc.ID)
}

// ordered is a group whose tasks wait for one another.
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

// lookedInto is a command that runs in a task.
func (s *soak) lookedInto() {
	pod := s.pods[s.random.IntN(len(s.pods))]
	alloc, err := s.Alloc(pod.ID)
	must.NoError(s.t, err)
	must.Eq(s.t, pod.ID+"\n", s.exec(alloc, "lines", "/bin/sh", "-c", "echo $NOMAD_ALLOC_ID"))
}

// stop stops a job in order, and has Nomad forget it. A client that is killed while it removes the
// network of an ended allocation never does so later (nomad#11096).
func (s *soak) stop(job, id string) {
	s.t.Helper()
	s.deregister(job, false)
	s.waitAlloc(id, api.AllocClientStatusComplete)
	s.eventually("Nomad has removed the network", func() error {
		_, err := os.Stat(filepath.Join("/run/netns", id))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return cmp.Or(err, errors.New("it is there"))
	})
	s.deregister(job, true)
}

func (s *soak) deregister(job string, purge bool) {
	s.t.Helper()
	_, _, err := s.Client().Jobs().Deregister(job, purge, nil)
	must.NoError(s.t, err)
}

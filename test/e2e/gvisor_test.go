package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
)

// TestGvisor runs the example job with tls-proxy and topz as a gVisor pod in a network of Nomad's, and
// kills the plugin and the agent meanwhile.
func TestGvisor(t *testing.T) {
	runsc, err := filepath.Abs(filepath.Join(repository, "bin/runtimes/runsc"))
	must.NoError(t, err)
	if _, err := os.Stat(runsc); err != nil {
		t.Skip("needs bin/runtimes/runsc: make runtimes")
	}
	text, err := os.ReadFile(webJob)
	must.NoError(t, err)
	plain := injectText(t, string(text))
	job := injectText(t, strings.Replace(string(text), "      config {\n", "      config {\n        runtime = \"runsc\"\n", 1))
	must.Eq(t, 3, strings.Count(job, `"runsc"`), must.Sprint("all tasks have the runtime"))
	onOwnAgent(t, []string{"runc"}, func(c *cluster) {
		alloc := c.runGvisor(job)
		c.checkGvisor(alloc)
		checkTopz(c, alloc)
		checkStats(c, alloc, []string{"app", "tls-proxy", "topz"})
		must.NoError(c.t, c.Client().Allocations().Signal(alloc, nil, "app", "SIGHUP"))
		c.waitLog(alloc, "app", "stdout", "reloaded\n")

		must.NoError(c.t, c.KillPlugin())
		c.checkGvisor(alloc)
		must.NoError(c.t, c.Shutdown(c.ctx)) // Nomad saves the state of the network, see TestCrash_TasksSurvive
		must.NoError(c.t, c.Launch(c.ctx))
		c.checkGvisor(alloc)
		must.NoError(c.t, c.Kill(c.ctx))
		must.NoError(c.t, c.Launch(c.ctx))
		c.checkGvisor(alloc)

		must.NoError(c.t, c.Client().Allocations().Restart(alloc, "app", nil))
		c.waitTask(alloc.ID, "app", func(s *api.TaskState) error {
			if s.Restarts != 1 || s.State != "running" {
				return fmt.Errorf("state %s after %d restarts", s.State, s.Restarts)
			}
			return nil
		})
		c.checkGvisor(alloc)
		_, _, err := c.Client().Jobs().Deregister("web", false, nil)
		must.NoError(c.t, err)
		c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
		c.waitLog(alloc, "app", "stdout", "stopped\n")
		c.eventually("the rules of the pod's network are removed", func() error {
			rules, err := exec.Command("iptables-save").Output()
			if err == nil && strings.Contains(string(rules), alloc.ID) {
				err = errors.New("rules name the allocation")
			}
			return err
		})
		c.compare(map[string]string{"runc": plain, "runsc": job})
	}, func(o *agent.Options) {
		o.PluginConfig += fmt.Sprintf("runtimes {\n runsc {\n path = %q\n }\n}\n", runsc)
	})
}

func (c *cluster) runGvisor(job string) *api.Allocation {
	c.t.Helper()
	alloc, err := c.RunJob(c.ctx, job)
	must.NoError(c.t, err)
	alloc, err = c.WaitRunning(c.ctx, alloc.ID)
	must.NoError(c.t, err)
	return alloc
}

// checkGvisor checks that the pod answers, and that its tasks are in a sandbox.
func (c *cluster) checkGvisor(alloc *api.Allocation) {
	c.t.Helper()
	must.StrContains(c.t, strings.ToLower(c.fetch("https", port(c.t, alloc, "https"), "/")), "<html")
	c.eventually("a command in the sandbox", func() error {
		result, err := c.Exec(c.ctx, alloc, "app", "/bin/dmesg")
		if err == nil && !strings.Contains(result.Stdout, "gVisor") {
			err = fmt.Errorf("dmesg: %q", result.Stdout)
		}
		return err
	})
}

// memoryOf returns the memory of a pod's tasks, monitors and sandbox in MiB, or 0 on cgroup v2.
func memoryOf(t *testing.T, allocID string) (mib int) {
	t.Helper()
	const root = "/sys/fs/cgroup/memory"
	groups, err := filepath.Glob(root + "/nomad*/" + allocID + "*")
	must.NoError(t, err)
	for _, group := range groups {
		b, err := os.ReadFile(filepath.Join(group, "memory.usage_in_bytes"))
		must.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		must.NoError(t, err)
		mib += n >> 20
	}
	return mib
}

// compare logs how long the jobs take from their registration until all tasks run and answer, and
// their memory.
func (c *cluster) compare(jobs map[string]string) {
	for range 3 {
		for name, job := range jobs {
			begin := time.Now()
			alloc := c.runGvisor(job)
			running := time.Since(begin)
			c.fetch("https", port(c.t, alloc, "https"), "/")
			c.t.Logf("%s: running after %s, answered after %s, %d MiB", name, running.Round(time.Millisecond),
				time.Since(begin).Round(time.Millisecond), memoryOf(c.t, alloc.ID))
			_, _, err := c.Client().Jobs().Deregister("web", true, nil)
			must.NoError(c.t, err)
		}
	}
}

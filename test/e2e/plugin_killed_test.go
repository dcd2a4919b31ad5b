package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// Trap D18: the plugin is killed while a container is created. Nomad repeats the start. Then the
// store has a layer for the running task only, and after its end none.
func TestStart_PluginKilledDuringCreate(t *testing.T) {
	reference := testimage.Layout(t, t.TempDir(), testimage.New(t))
	dir := t.TempDir()
	onOwnAgent(t, matrix.Both(), func(c *cluster) {
		armed, stuck := filepath.Join(dir, "armed"), filepath.Join(dir, "stuck")
		must.NoError(c.t, os.WriteFile(armed, nil, 0o600))
		hcl := testdata(c.t, "config.nomad.hcl", "NAME", "cut", "CONFIG", fmt.Sprintf(`image = %q
			args = ["-P"]`, reference))
		alloc, err := c.RunJob(c.ctx, hcl)
		must.NoError(c.t, err)
		c.eventually("the start is stuck", func() error { _, err := os.Stat(stuck); return err })
		must.NoError(c.t, os.Remove(stuck))
		must.SliceLen(c.t, 1, c.layers(), must.Sprint("layers before the kill"))

		must.NoError(c.t, c.KillPlugin())
		alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusRunning)
		must.SliceLen(c.t, 1, c.layers())
		c.first(alloc, "once")

		_, _, err = c.Client().Jobs().Deregister("cut", false, nil)
		must.NoError(c.t, err)
		c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
		c.eventually("the layer is removed", func() error {
			if left := c.layers(); len(left) > 0 {
				return fmt.Errorf("still %v", left)
			}
			return nil
		})
	}, func(o *agent.Options) { o.Runtime = hangOnce(t, dir, o.Runtime) })
}

// hangOnce wraps a runtime. If a file "armed" exists, its next create hangs and writes a file
// "stuck".
func hangOnce(t *testing.T, dir, runtime string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(runtime))
	script := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *' create '*) mv %[1]s/armed %[1]s/stuck 2>/dev/null && exec sleep 600;; esac\nexec %[2]s \"$@\"\n", dir, runtime)
	must.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// layers returns the containers in the driver's image store. Each has its own layer.
func (c *cluster) layers() []string {
	c.t.Helper()
	var all []string
	for _, dir := range c.DriverDirs() {
		records, err := filepath.Glob(filepath.Join(dir, "images", "overlay-containers", "*containers.json"))
		must.NoError(c.t, err)
		for _, file := range records {
			text, err := os.ReadFile(file)
			must.NoError(c.t, err)
			var list []struct{ ID string }
			must.NoError(c.t, json.Unmarshal(text, &list))
			for _, record := range list {
				all = append(all, record.ID)
			}
		}
	}
	return all
}

// Trap D22 (nomad#5936, nomad#5891): after a kill there is one new plugin, the task is the same
// process, and its statistics continue.
func TestStats_ResumeAfterPluginKill(t *testing.T) {
	onOwnAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
		first := c.identities(alloc, "counter")
		before := c.usage(alloc, 0)
		old, err := c.PluginPIDs()
		must.NoError(c.t, err)
		must.NoError(c.t, c.KillPlugin())
		c.awaitPlugin()
		c.eventually("the old plugin is gone", func() error {
			pids, err := c.PluginPIDs()
			if err == nil && slices.Contains(pids, old[0]) {
				err = fmt.Errorf("still %v", pids)
			}
			return err
		})
		// Ignore the next statistics: they may be from the killed plugin.
		next := c.usage(alloc, before.Timestamp)
		after := c.usage(alloc, next.Timestamp)
		must.Positive(c.t, after.ResourceUsage.MemoryStats.Usage)
		c.eventually("the task uses the processor", func() error {
			// On a busy machine the task may not run between two measurements.
			if after.ResourceUsage.CpuStats.Percent > 0 {
				return nil
			}
			after = c.usage(alloc, after.Timestamp)
			return errors.New("CPU usage is zero")
		})
		must.Eq(c.t, first, c.identities(alloc, "counter"))
	})
}

// usage waits for statistics of a task that are newer than since, in nanoseconds.
func (c *cluster) usage(alloc *api.Allocation, since int64) *api.TaskResourceUsage {
	c.t.Helper()
	var use *api.TaskResourceUsage
	c.eventually("new statistics", func() error {
		all, err := c.Client().Allocations().Stats(alloc, nil)
		if err != nil {
			return err
		}
		use = all.Tasks["counter"]
		if use == nil || use.Timestamp <= since || use.ResourceUsage == nil || use.ResourceUsage.CpuStats == nil {
			return fmt.Errorf("last statistics: %+v", use)
		}
		return nil
	})
	return use
}

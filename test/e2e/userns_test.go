package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
)

// TestUserns checks a pod with a user namespace in a network of Nomad's: tasks before and after the
// main one join it, Nomad reads its files and removes them, and it survives a kill of the plugin.
func TestUserns(t *testing.T) {
	runtime, err := filepath.Abs(filepath.Join(repository, "bin/runtimes/runc"))
	must.NoError(t, err)
	if _, err := os.Stat(runtime); err != nil {
		t.Skip("needs bin/runtimes/runc: make runtimes")
	}
	base, err := os.MkdirTemp("", "userns-")
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, os.RemoveAll(base)) })
	must.NoError(t, os.Chmod(base, 0o711)) // root of the pod must be able to enter it
	onOwnAgent(t, []string{"runc"}, func(c *cluster) {
		alloc := c.run(testdata(c.t, "userns.nomad.hcl"), api.AllocClientStatusRunning)
		c.waitLog(alloc, "inside", "stdout", "prepared\nrendered")
		c.checkUserns(alloc)

		must.NoError(c.t, c.KillPlugin())
		c.eventually("the task is recovered", func() error {
			_, err := c.Exec(c.ctx, alloc, "inside", "/bin/true")
			return err
		})
		c.checkUserns(alloc)

		shared := c.SharedDir(alloc.ID)
		_, _, err := c.Client().Jobs().Deregister("userns", false, nil)
		must.NoError(c.t, err)
		c.waitLog(alloc, "after", "stdout", "prepared\n0")
		c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
		must.NoError(c.t, c.Client().System().GarbageCollect())
		c.eventually("Nomad removes the allocation's files", func() error {
			if _, err := os.Stat(shared); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: %v", shared, err)
			}
			return nil
		})
	}, func(o *agent.Options) {
		o.Runtime, o.DriverRunDir = runtime, filepath.Join(base, "run")
		o.PluginConfig += "userns {\n first = 1879048192\n size = 1048576\n}\n"
	})
}

func (c *cluster) checkUserns(alloc *api.Allocation) {
	c.t.Helper()
	inside := func(script string) string {
		return strings.TrimSpace(c.exec(alloc, "inside", "/bin/sh", "-c", script))
	}
	must.Eq(c.t, "0 1879048192 65536", strings.Join(strings.Fields(inside("cat /proc/self/uid_map")), " "))
	must.Eq(c.t, "eth0\nlo", inside("ls /sys/class/net"))
	must.Eq(c.t, "321", inside("cat /proc/sys/net/core/somaxconn"))
	must.Eq(c.t, "0 0 600", inside("stat -c '%u %g %a' /secrets/word"))
	info, _, err := c.Client().AllocFS().Stat(alloc, "alloc/data/prepared", nil)
	must.NoError(c.t, err)
	must.Eq(c.t, "-rw-------", info.FileMode)
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// otherVersion is the version of the plugin that the tests upgrade from and downgrade to.
const otherVersion = "0.0.9"

// TestPluginUpgrade upgrades and downgrades the plugin while tasks run. No task restarts, no line of
// output is lost, and plugin and log collector are those of the installed program afterwards.
func TestPluginUpgrade(t *testing.T) {
	other := buildPlugin(t, otherVersion)
	changes := []struct {
		name    string
		program string
		version string
		change  func(c *cluster)
	}{
		{"downgrade by a restart of the agent", other, otherVersion, func(c *cluster) {
			must.NoError(c.t, c.Shutdown(c.ctx))
			must.NoError(c.t, c.Launch(c.ctx))
		}},
		{"upgrade by a kill of the plugin", pluginProgram, "", func(c *cluster) {
			must.NoError(c.t, c.KillPlugin())
		}},
		{"downgrade after a crash of everything", other, otherVersion, func(c *cluster) {
			must.NoError(c.t, c.Kill(c.ctx))
			must.NoError(c.t, c.KillPlugin())
			must.NoError(c.t, c.KillCollector())
			must.NoError(c.t, c.Launch(c.ctx))
		}},
	}
	onOwnAgent(t, matrix.Both(), func(c *cluster) {
		web := c.runInjected()
		counter := c.run(testdata(t, "counter.nomad.hcl"), api.AllocClientStatusRunning)
		before := c.identities(web, "app", "tls-proxy", "topz")
		count := c.identities(counter, "counter")
		version := c.pluginVersion()
		for _, change := range changes {
			c.t.Run(change.name, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				must.NoError(t, c.InstallPlugin(change.program))
				change.change(c)
				want := change.version
				if want == "" {
					want = version
				}
				c.eventually("the plugin is replaced", func() error {
					if have := c.pluginVersion(); have != want {
						return fmt.Errorf("version is %s, want %s", have, want)
					}
					return c.runsInstalledPrograms()
				})
				for _, alloc := range []*api.Allocation{web, counter} {
					c.eventually("the allocation runs", func() error { return checkUnchanged(c, alloc.ID) })
				}
				must.Eq(t, before, c.identities(web, "app", "tls-proxy", "topz"))
				must.Eq(t, count, c.identities(counter, "counter"))
				c.checkLogGrows(counter)
				c.eventually("the driver has recovered the task", func() error {
					_, err := c.Exec(c.ctx, web, "app", "true")
					return err
				})
				c.fetch("https", port(t, web, "https"), "/")
				c.checkOneCollector()
			})
		}
	})
}

const pluginProgram = "../../bin/nomad-driver-pod"

// buildPlugin builds the plugin with a version.
func buildPlugin(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false",
		"-tags", "containers_image_openpgp exclude_graphdriver_btrfs",
		"-ldflags", "-X github.com/nomad-sidecar/nomad-sidecar/driver.Version="+version, "-o", path, "../../plugin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
	return path
}

// pluginVersion returns the version that the driver reports to the node.
func (c *cluster) pluginVersion() string {
	c.t.Helper()
	nodes, _, err := c.Client().Nodes().List(nil)
	must.NoError(c.t, err)
	node, _, err := c.Client().Nodes().Info(nodes[0].ID, nil)
	must.NoError(c.t, err)
	return node.Attributes["driver.pod.version"]
}

// runsInstalledPrograms checks that no process of a replaced program runs.
func (c *cluster) runsInstalledPrograms() error {
	plugins, err := c.PluginPIDs()
	if err != nil {
		return err
	}
	collectors, err := c.CollectorPIDs()
	if err != nil {
		return err
	}
	for _, pid := range append(plugins, collectors...) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return err
		}
		if strings.HasSuffix(exe, " (deleted)") {
			return fmt.Errorf("process %d runs a replaced program", pid)
		}
	}
	return nil
}

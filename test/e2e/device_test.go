package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestDevicePlugin checks that only the task that reserved a device gets the device nodes, mounts
// and variables of Nomad's device plugin.
func TestDevicePlugin(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs a device outside of the default ones: %v", err)
	}
	dir := t.TempDir()
	plugin := build(t, t.TempDir(), "test/cmd/device")
	must.NoError(t, os.Chmod(dir, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "firmware"), []byte("of the device\n"), 0o644))
	specs := t.TempDir() // specs of the Container Device Interface
	must.NoError(t, os.WriteFile(filepath.Join(specs, "gpu.json"), []byte(`{
		"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu",
		"devices": [{"name": "fuse-0", "containerEdits": {
			"env": ["GPU=by-cdi"], "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/fuse", "permissions": "r"}]}}]}`), 0o644))
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		c.eventually("the node has the device", func() error {
			nodes, _, err := c.Client().Nodes().List(&api.QueryOptions{Params: map[string]string{"resources": "true"}})
			if err == nil && len(nodes[0].NodeResources.Devices) != 1 {
				err = fmt.Errorf("devices of the node: %v", nodes[0].NodeResources.Devices)
			}
			return err
		})
		with := c.runSingleTask(singleTask{name: "with", task: `user = "root"`, resources: `cpu = 50
			memory = 32
			device "test/file-system/fuse" { count = 1 }`})
		c.expectOutput(with, "echo $FUSE_DEVICE", "fuse-0")
		c.expectOutput(with, "cat /opt/fuse/firmware", "of the device")
		c.expectOutput(with, writes("/opt/fuse"), "Read-only")
		c.expectOutput(with, "stat -c %t:%T /dev/own; (: < /dev/own) && echo open; (: > /dev/own) 2>&1 | grep -o 'not permitted'",
			"a:e5", "open", "not permitted")
		c.expectOutput(with, "echo $GPU; stat -c %t:%T /dev/gpu0; (: < /dev/gpu0) && echo open", "by-cdi", "a:e5", "open")

		without := c.runSingleTask(singleTask{name: "without", task: `user = "root"
			env { NVIDIA_VISIBLE_DEVICES = "fuse-0" }`})
		c.expectOutput(without, "ls -d /dev/own /dev/gpu0 /opt/fuse 2>/dev/null | wc -l; echo \"[$FUSE_DEVICE$GPU]\"", "0", "[]")
	}, func(o *agent.Options) {
		o.MorePlugins = []string{plugin}
		o.PluginConfig += fmt.Sprintf("cdi_spec_dirs = [%q]\n", specs)
		o.ClientConfig += fmt.Sprintf("plugin \"device\" {\n  config {\n    dir = %q\n  }\n}\n", dir)
	})
}

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

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

const (
	// interfaces prints the network interfaces of a task.
	interfaces = `tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort`
	// addressOf prints an interface's IPv4 address.
	addressOf = `ip -4 -o address show dev %s | awk '{ print $4 }' | cut -d/ -f1`
	netns     = `readlink /proc/self/ns/net`
)

// TestNetworkModes checks that tasks are in the network that their group requests.
func TestNetworkModes(t *testing.T) {
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		own := c.namespace(os.Getpid(), "net")
		c.sub("host", func(c *cluster) {
			for name, group := range map[string]string{"unset": "", "host": `network { mode = "host" }`} {
				alloc := c.runSingleTask(singleTask{name: name, group: group})
				c.expectOutput(alloc, netns, own)
			}
		})
		c.sub("bridge", func(c *cluster) {
			alloc := c.runSingleTask(singleTask{name: "bridge", group: `network {
				mode = "bridge"
				port "http" { to = 8000 }
			}`})
			c.ownNetwork(alloc, own)
			c.expectOutput(alloc, "ip route show default | wc -l", "1")
			c.expectOutput(alloc, "echo $NOMAD_ALLOC_PORT_http", "8000")
		})
		c.sub("cni", func(c *cluster) {
			alloc := c.runSingleTask(singleTask{name: "cni", group: `network { mode = "cni/routed" }`})
			c.ownNetwork(alloc, own)
			c.expectOutput(alloc, "ip route show default | awk '{ print $3 }'", "10.214.0.1")
		})
		c.sub("cni without a way out", func(c *cluster) {
			alloc := c.runSingleTask(singleTask{name: "inner", group: `network { mode = "cni/inner" }`})
			c.ownNetwork(alloc, own)
			c.expectOutput(alloc, "ip route show default | wc -l", "0")
		})
	}, withCNI(t))
}

// ownNetwork checks that a task has its own namespace with loopback and the interface that Nomad
// reports.
func (c *cluster) ownNetwork(alloc *api.Allocation, host string) {
	c.t.Helper()
	must.NotEq(c.t, host, strings.TrimSpace(c.exec(alloc, "inside", "/bin/sh", "-c", netns)))
	c.expectOutput(alloc, interfaces, "eth0", "lo")
	var address string
	c.eventually("the server reports the address", func() error {
		now, err := c.Alloc(alloc.ID)
		if err == nil && (now.NetworkStatus == nil || now.NetworkStatus.Address == "") {
			err = fmt.Errorf("network status is %v", now.NetworkStatus)
		}
		if err == nil {
			address = now.NetworkStatus.Address
		}
		return err
	})
	c.expectOutput(alloc, fmt.Sprintf(addressOf, "eth0"), address)
	c.expectOutput(alloc, fmt.Sprintf(addressOf, "lo"), "127.0.0.1")
}

// withCNI gives the agent two CNI networks: one with a bridge and a default route, and one with a
// bridge without address and route. Leftovers of the CNI plugins are removed after the test.
func withCNI(t *testing.T) func(*agent.Options) {
	t.Helper()
	const conflist = `{ "cniVersion": "0.4.0", "name": "%s", "plugins": [
		{ "type": "loopback" },
		{ "type": "bridge", "bridge": "pod%[1]s", "isGateway": %[2]t, "ipam": {
			"type": "host-local", "ranges": [[{ "subnet": "%[3]s" }]], "routes": [%[4]s] } } ] }`
	dir := t.TempDir()
	for name, text := range map[string]string{
		"routed": fmt.Sprintf(conflist, "routed", true, "10.214.0.0/24", `{ "dst": "0.0.0.0/0" }`),
		"inner":  fmt.Sprintf(conflist, "inner", false, "10.214.1.0/24", ""),
	} {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name+".conflist"), []byte(text), 0o644))
		t.Cleanup(func() {
			// The bridge does not exist if no task has used it.
			_ = exec.Command("ip", "link", "delete", "pod"+name).Run()
			must.NoError(t, os.RemoveAll("/var/lib/cni/networks/"+name))
		})
	}
	return func(o *agent.Options) { o.ClientConfig += fmt.Sprintf("client { cni_config_dir = %q }\n", dir) }
}

// TestNetworkMode_NoneRefusedByNomad documents that Nomad itself fails with mode = "none" under
// any driver: its network hook creates a namespace, its configurator for this mode reports no
// status, and Nomad treats that as a lost network. No task is started.
func TestNetworkMode_NoneRefusedByNomad(t *testing.T) {
	t.Parallel()
	c := shareAgent(t, "crun")
	for _, driver := range []string{"pod", "raw_exec"} {
		c.sub(driver, func(c *cluster) {
			hcl := singleTask{name: "none-" + driver, group: `network { mode = "none" }`}.hcl(c.t)
			alloc, err := c.RunJob(c.ctx, strings.Replace(hcl, `driver = "pod"`, fmt.Sprintf("driver = %q", driver), 1))
			must.NoError(c.t, err)
			alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusFailed)
			must.StrContains(c.t, alloc.ClientDescription+agent.Events(alloc), "network already configured but not found in state")
			must.MapEmpty(c.t, times(alloc, api.TaskStarted))
		})
	}
}

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

const nameServers = `dns {
	servers  = ["10.9.8.7", "10.9.8.6"]
	searches = ["pods.test"]
	options  = ["ndots:2"]
}`

// TestNameServers checks that /etc/resolv.conf follows the group's dns block, or is the host's
// file.
func TestNameServers(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		want := []string{"nameserver 10.9.8.7", "nameserver 10.9.8.6", "search pods.test", "options ndots:2"}
		for _, mode := range []string{"bridge", "host"} {
			alloc := c.runSingleTask(singleTask{name: "dns-" + mode, group: fmt.Sprintf("network {\nmode = %q\n%s\n}", mode, nameServers)})
			for _, line := range want {
				c.expectOutput(alloc, "grep -x '"+line+"' /etc/resolv.conf", line)
			}
			c.expectOutput(alloc, "grep -c nameserver /etc/resolv.conf", "2")
		}
		alloc := c.runSingleTask(singleTask{name: "dns-default", group: `network { mode = "bridge" }`})
		own, err := os.ReadFile("/etc/resolv.conf")
		must.NoError(c.t, err)
		must.Eq(c.t, string(own), c.exec(alloc, "inside", "cat", "/etc/resolv.conf"))
	})
}

// TestHostNames checks that a task and its siblings resolve its name to its address in the group's
// network, and that extra_hosts are added.
func TestHostNames(t *testing.T) {
	const lookUp = `getent ahostsv4 %s | awk '{ print $1 }' | sort -u`
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		self := fmt.Sprintf(lookUp, "$(hostname)")
		bridge := c.runSingleTask(singleTask{name: "bridge", group: `network { mode = "bridge" }`, config: `hostname = "named"
			extra_hosts = ["db:10.1.2.3"]`})
		c.expectOutput(bridge, "hostname", "named")
		c.expectOutput(bridge, self+" > /tmp/self; "+fmt.Sprintf(addressOf, "eth0")+" | diff - /tmp/self && echo same", "same")
		c.expectOutput(bridge, fmt.Sprintf(lookUp, "db"), "10.1.2.3")
		c.expectOutput(bridge, fmt.Sprintf(lookUp, "localhost"), "127.0.0.1")

		host := c.runSingleTask(singleTask{name: "host", config: `extra_hosts = ["db:10.1.2.3"]`})
		c.expectOutput(host, "hostname", shortID(host.ID))
		c.expectOutput(host, self, "127.0.1.1")
		c.expectOutput(host, fmt.Sprintf(lookUp, "db"), "10.1.2.3")
		c.expectOutput(host, fmt.Sprintf(lookUp, "localhost"), "127.0.0.1")

		plain := c.runSingleTask(singleTask{name: "plain", group: `network { mode = "bridge" }`})
		c.expectOutput(plain, "hostname", shortID(plain.ID))
		c.expectOutput(plain, self+" > /tmp/self; "+fmt.Sprintf(addressOf, "eth0")+" | diff - /tmp/self && echo same", "same")
	})
}

// shortID returns the host name of a task without a configured one.
func shortID(id string) string {
	if strings.Trim(id[:8], "0123456789") == "" {
		return id[:13] // digits alone are an address
	}
	return id[:8]
}

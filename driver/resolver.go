package driver

import (
	"bufio"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// resolvers are the files of a host that list its name servers.
type resolvers struct {
	used     string // by programs of the host
	upstream string // written by systemd-resolved: the servers behind its stub
}

func hostResolvers() resolvers {
	return resolvers{used: "/etc/resolv.conf", upstream: "/run/systemd/resolve/resolv.conf"}
}

// reachableDNS returns the DNS configuration for a task. In a network namespace of its own the
// host's loopback addresses are unreachable, so a stub resolver such as 127.0.0.53 is replaced by
// its upstream servers. If there are none, the configuration is returned unchanged, see
// unreachableDNS.
func reachableDNS(network pod.Network, conf *drivers.DNSConfig, host resolvers) *drivers.DNSConfig {
	if !ownNetwork(network) || conf != nil && len(conf.Servers) > 0 {
		return conf
	}
	used := readResolver(host.used)
	if used.reachable() {
		return conf
	}
	upstream := readResolver(host.upstream)
	if !upstream.reachable() {
		return conf
	}
	out := drivers.DNSConfig{Servers: upstream.servers, Searches: upstream.searches, Options: used.options}
	if conf != nil && len(conf.Searches) > 0 {
		out.Searches = conf.Searches
	}
	if conf != nil && len(conf.Options) > 0 {
		out.Options = conf.Options
	}
	return &out
}

// unreachableDNS returns the host's name servers if a task cannot reach any of them.
func unreachableDNS(network pod.Network, conf *drivers.DNSConfig, host resolvers) []string {
	if !ownNetwork(network) || network.None || conf != nil && len(conf.Servers) > 0 {
		return nil
	}
	used := readResolver(host.used)
	if used.reachable() || len(used.servers) == 0 || readResolver(host.upstream).reachable() {
		return nil
	}
	return used.servers
}

func ownNetwork(n pod.Network) bool { return n.None || n.NamespaceHostPath != "" }

// resolver is the content of a resolv.conf(5).
type resolver struct{ servers, searches, options []string }

// readResolver returns an empty resolver if the file is unreadable.
func readResolver(path string) resolver {
	var r resolver
	file, err := os.Open(path)
	if err != nil {
		return r
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			r.servers = append(r.servers, words[1])
		case "search", "domain":
			r.searches = words[1:] // the last line wins
		case "options":
			r.options = append(r.options, words[1:]...)
		}
	}
	return r
}

// reachable reports whether a name server has an address other than loopback.
func (r resolver) reachable() bool {
	return slices.ContainsFunc(r.servers, func(server string) bool {
		address, err := netip.ParseAddr(server)
		return err == nil && !address.IsLoopback()
	})
}

package driver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/drivers/shared/hostnames"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// hostsTarget is the hosts file of a task.
const hostsTarget = "/etc/hosts"

// setHosts adds what extra_hosts asks for; hostsMount puts it after the lines
// that every task has.
func setHosts(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	lines, err := hostLines(c.ExtraHosts)
	if lines != "" {
		t.Files = append(t.Files, pod.File{Target: hostsTarget, Content: []byte(lines)})
	}
	if lines != "" && slices.Contains(targets(*t), hostsTarget) {
		err = errors.Join(err, errors.New("extra_hosts and a mount at /etc/hosts contradict each other: leave one of them out"))
	}
	if len(c.Ports) > 0 && (cfg.NetworkIsolation == nil || cfg.NetworkIsolation.Path == "") {
		err = errors.Join(err, fmt.Errorf("ports: the task's network is the host's, where nothing is mapped: set mode = \"bridge\" in the group's network block, or leave ports out and listen on ${NOMAD_PORT_%s}", c.Ports[0]))
	}
	return err
}

// hostLines turns docker's NAME:ADDRESS into lines of hosts(5).
func hostLines(extra []string) (string, error) {
	var b strings.Builder
	var errs []error
	for _, e := range extra {
		name, addr, _ := strings.Cut(e, ":")
		addr = strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
		if !validHostname.MatchString(strings.ReplaceAll(name, "_", "x")) || net.ParseIP(addr) == nil {
			errs = append(errs, fmt.Errorf("extra_hosts: %q: want \"name:address\", with an IPv4 or IPv6 address", e))
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", addr, name)
	}
	return b.String(), errors.Join(errs...)
}

// hostsMount gives the mount of /etc/hosts: the file that the tasks of the
// allocation have in common, or the host's in its network. A task that needs
// other lines too gets a file of its own instead, and no mount.
func hostsMount(t *pod.Task, cfg *drivers.TaskConfig) (*drivers.MountConfig, error) {
	own, err := ownName(cfg.NetworkIsolation, t.Hostname)
	if err != nil {
		return nil, err
	}
	spec := cfg.NetworkIsolation
	if spec != nil && spec.HostsConfig == nil {
		named := *spec
		named.HostsConfig = own
		spec = &named
	}
	m, err := hostnames.GenerateEtcHostsMount(cfg.AllocDir, spec, nil)
	if err != nil {
		return nil, err
	}
	if m == nil { // the network is the host's
		m = &drivers.MountConfig{TaskPath: hostsTarget, HostPath: hostsTarget, Readonly: true}
	}
	common, err := os.ReadFile(m.HostPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(common) > 0 && common[len(common)-1] != '\n' {
		common = append(common, '\n')
	}
	i := slices.IndexFunc(t.Files, func(f pod.File) bool { return f.Target == hostsTarget })
	if !t.HostNamespaces.UTS && !slices.Contains(strings.Fields(string(common)), own.Hostname) {
		common = fmt.Appendf(common, "%s %s\n", own.Address, own.Hostname)
	} else if i < 0 {
		return m, nil
	}
	if i < 0 {
		t.Files = append(t.Files, pod.File{Target: hostsTarget, Content: common})
	} else {
		t.Files[i].Content = append(common, t.Files[i].Content...)
	}
	return nil, nil
}

// ownName is what a task's own name stands for: the address that it has in the
// network namespace, or in the host's network what Debian uses there. Nomad
// tells it only of namespaces that a driver made.
func ownName(spec *drivers.NetworkIsolationSpec, name string) (*drivers.HostsConfig, error) {
	own := &drivers.HostsConfig{Hostname: name, Address: "127.0.1.1"}
	if spec == nil || spec.Path == "" {
		return own, nil
	}
	if spec.HostsConfig != nil && spec.HostsConfig.Address != "" {
		own.Address = spec.HostsConfig.Address
		return own, nil
	}
	err := namespace.InNetwork(spec.Path, func() error {
		addresses, err := net.InterfaceAddrs()
		for _, a := range addresses {
			n, ok := a.(*net.IPNet)
			if !ok || !n.IP.IsGlobalUnicast() {
				continue
			}
			own.Address = n.IP.String()
			if n.IP.To4() != nil {
				break
			}
		}
		return err
	})
	return own, err
}

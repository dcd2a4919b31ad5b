package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/drivers/shared/hostnames"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// hostsTarget is the path of the hosts file in a task.
const hostsTarget = "/etc/hosts"

// setHosts adds extra_hosts; hostsMount appends them to the lines that every task
// has.
func setHosts(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	lines, err := hostLines(c.ExtraHosts, func() (string, error) { return gateway(cfg.NetworkIsolation) })
	if lines != "" {
		t.Files = append(t.Files, pod.File{Target: hostsTarget, Content: []byte(lines)})
	}
	if lines != "" && slices.Contains(targets(*t), hostsTarget) {
		err = errors.Join(err, errors.New("extra_hosts and a mount at /etc/hosts contradict each other: leave one of them out"))
	}
	if len(c.Ports) > 0 && (cfg.NetworkIsolation == nil || cfg.NetworkIsolation.Path == "") {
		err = errors.Join(err, fmt.Errorf("ports: the task's network is the host's, which has no port mapping: set mode = \"bridge\" in the group's network block, or leave ports out; a port %q of that block is then ${NOMAD_PORT_%[1]s}", c.Ports[0]))
	}
	return errors.Join(err, checkPorts(c, cfg))
}

// checkPorts requires that ports lists labels of the group's ports.
func checkPorts(c TaskConfig, cfg *drivers.TaskConfig) error {
	if cfg.Resources == nil || cfg.Resources.Ports == nil {
		return nil
	}
	var labels []string
	for _, p := range *cfg.Resources.Ports {
		labels = append(labels, p.Label)
	}
	var errs []error
	for _, label := range c.Ports {
		if !slices.Contains(labels, label) {
			errs = append(errs, fmt.Errorf("ports: %q is not a port of the group's network; it has %s", label, quoted(labels)))
		}
	}
	return errors.Join(errs...)
}

// quoted quotes words for messages.
func quoted(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprintf("%q", words), "[]")
}

// hostGateway stands for the address at which a task reaches its host, as in docker.
const hostGateway = "host-gateway"

// hostLines converts docker's NAME:ADDRESS to lines of hosts(5). gateway returns the address for
// host-gateway.
func hostLines(extra []string, gateway func() (string, error)) (string, error) {
	var b strings.Builder
	var errs []error
	for _, e := range extra {
		name, addr, _ := strings.Cut(e, ":")
		if addr == hostGateway {
			var err error
			if addr, err = gateway(); err != nil {
				errs = append(errs, fmt.Errorf("extra_hosts: %q: %w", e, err))
				continue
			}
		}
		addr = strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
		if fault := hostnameFault(strings.ReplaceAll(name, "_", "x")); fault != "" {
			errs = append(errs, fmt.Errorf("extra_hosts: %q: the name %s", e, fault))
			continue
		}
		if name == "" || net.ParseIP(addr) == nil {
			errs = append(errs, fmt.Errorf("extra_hosts: %q: want \"name:address\", with an IPv4 or IPv6 address or host-gateway", e))
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", addr, name)
	}
	return b.String(), errors.Join(errs...)
}

// gateway returns the address at which a task reaches its host: the default gateway of the group's
// network, or loopback in the host's network.
func gateway(spec *drivers.NetworkIsolationSpec) (string, error) {
	if spec == nil || spec.Path == "" {
		return "127.0.0.1", nil
	}
	var routes []byte
	err := namespace.InNetwork(spec.Path, func() (err error) {
		routes, err = os.ReadFile("/proc/thread-self/net/route")
		return err
	})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(routes)) {
		// Iface Destination Gateway Flags …, in the host's byte order (proc_pid_net(5)).
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		n, err := strconv.ParseUint(f[2], 16, 32)
		if err != nil || n == 0 {
			continue
		}
		return netip.AddrFrom4([4]byte(binary.NativeEndian.AppendUint32(nil, uint32(n)))).String(), nil
	}
	return "", errors.New("the group's network has no default gateway; write the host's address instead")
}

// hostsMount returns the mount of /etc/hosts: the file shared by the tasks of the
// allocation, or the host's in the host's network. A task that needs more lines
// gets its own file instead, and no mount.
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
	if m == nil { // in the host's network
		m = &drivers.MountConfig{TaskPath: hostsTarget, HostPath: hostsTarget, Readonly: true}
	}
	common, err := readHosts(m.HostPath)
	if err != nil {
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

// readHosts reads a hosts file, which the tasks of the allocation can write to.
// A missing file is empty.
func readHosts(path string) ([]byte, error) {
	const maxBytes = 1 << 20
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(b) > maxBytes {
		err = fmt.Errorf("%s exceeds %d bytes; a task of the allocation wrote to it", path, maxBytes)
	}
	return b, err
}

// ownName returns the address for a task's host name: its address in the network
// namespace, or 127.0.1.1, Debian's convention, in the host's network. Nomad passes the
// address only for namespaces that a driver created.
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

package driver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// hostsTarget is the hosts file of a task.
const hostsTarget = "/etc/hosts"

// setHosts adds what extra_hosts asks for; setMounts puts it after the lines
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

// completeHosts puts what every task of the allocation has before the lines of
// a task that has a hosts file of its own, and tells whether it has.
func completeHosts(t *pod.Task, hostPath string) (bool, error) {
	i := slices.IndexFunc(t.Files, func(f pod.File) bool { return f.Target == hostsTarget })
	if i < 0 {
		return false, nil
	}
	common, err := os.ReadFile(hostPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("make /etc/hosts: %w", err)
	}
	if len(common) > 0 && common[len(common)-1] != '\n' {
		common = append(common, '\n')
	}
	t.Files[i].Content = append(common, t.Files[i].Content...)
	return true, nil
}

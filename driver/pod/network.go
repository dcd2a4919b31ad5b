package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
)

// networkDefaults are the settings that docker gives to a container's own network namespace: any
// user may bind ports below 1024 and send pings.
func networkDefaults() map[string]string {
	return map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
}

// setNetworkDefaults applies networkDefaults once per pod, so that starting a task does not reset
// a sysctl that another task has set.
func (p *pod) setNetworkDefaults(t Task, state *podState) error {
	if t.Network.NamespaceHostPath == "" || state.NetworkSet {
		return nil
	}
	err := namespace.InNetwork(t.Network.NamespaceHostPath, func() error {
		var errs []error
		for name, value := range networkDefaults() {
			// Files below /proc/sys/net belong to the network namespace of the thread that opens them.
			errs = append(errs, os.WriteFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")), []byte(value), 0))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("set defaults of the network namespace: %w", err)
	}
	state.NetworkSet = true
	return p.m.checkpoint("write pod state", func() error { return writeState(p.stateFile(), *state) })
}

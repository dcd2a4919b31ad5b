package pod

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
)

const pingGroups = "net.ipv4.ping_group_range"

// networkDefaults are the settings that docker gives to a container's own network namespace: any
// user may bind ports below 1024 and send pings.
func networkDefaults() map[string]string {
	return map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		pingGroups:                            "0 2147483647",
	}
}

// setNetworkDefaults applies networkDefaults once per pod, so that starting a task does not reset
// a sysctl that another task has set.
func (p *pod) setNetworkDefaults(t Task, state *podState) error {
	if t.Network.NamespaceHostPath == "" || state.NetworkSet {
		return setSysctls(t)
	}
	err := namespace.InNetwork(t.Network.NamespaceHostPath, func() error {
		var errs []error
		for name, value := range networkDefaults() {
			// Files below /proc/sys/net belong to the network namespace of the thread that opens them.
			errs = append(errs, os.WriteFile(sysctlFile(name), []byte(value), 0))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("set defaults of the network namespace: %w", err)
	}
	if err := setSysctls(t); err != nil {
		return err
	}
	state.NetworkSet = true
	return p.m.checkpoint("write pod state", func() error { return writeState(p.stateFile(), *state) })
}

// ofHostNetwork reports whether a sysctl belongs to a network namespace that only the host's root may
// configure: the task's user namespace does not own it.
func (t Task) ofHostNetwork(name string) bool {
	return t.users != nil && t.Network.NamespaceHostPath != "" && strings.HasPrefix(name, "net.")
}

// setSysctls sets the task's sysctls that its runtime cannot set.
func setSysctls(t Task) error {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(t.Sysctl)), func(name string) bool { return !t.ofHostNetwork(name) })
	if len(names) == 0 {
		return nil
	}
	return namespace.InNetwork(t.Network.NamespaceHostPath, func() error {
		for _, name := range names {
			if err := os.WriteFile(sysctlFile(name), []byte(t.Sysctl[name]), 0); err != nil {
				return fmt.Errorf("%w: sysctl: %s = %q: %w", ErrInvalid, name, t.Sysctl[name], withoutPath(err))
			}
		}
		return nil
	})
}

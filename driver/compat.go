package driver

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// compatKey is a key of Nomad's docker or podman driver that has no effect here. Values that can be
// ignored without harm are accepted; others are refused with the replacement.
type compatKey struct {
	key
	// accepts reports whether a value may be ignored; nil accepts none.
	accepts func(value any, cfg *drivers.TaskConfig) bool
	// accepted describes these values for documentation; "" for none.
	accepted string
	// instead completes "use …". If it is empty there is no replacement, and because says why.
	instead, because string
}

// compatKeys lists the keys in the order of the documentation.
func compatKeys() []compatKey {
	attr := func(name, kind, instead string) compatKey {
		return compatKey{key: key{name: name, kind: kind}, instead: instead}
	}
	without := func(name, kind, because string) compatKey {
		return compatKey{key: key{name: name, kind: kind}, because: because}
	}
	accept := func(k compatKey, accepted string, accepts func(any, *drivers.TaskConfig) bool) compatKey {
		k.accepted, k.accepts = accepted, accepts
		return k
	}
	values := func(allowed ...any) func(any, *drivers.TaskConfig) bool {
		return func(v any, _ *drivers.TaskConfig) bool { return slices.Contains(allowed, v) }
	}
	const network = "the group's network block, and address_mode = \"alloc\" in a service"
	return []compatKey{
		accept(attr("auth_soft_fail", "bool", ""), "any", func(any, *drivers.TaskConfig) bool { return true }),
		accept(attr("container_exists_attempts", "number", ""), "any", func(any, *drivers.TaskConfig) bool { return true }),
		accept(attr("interactive", "bool", "nomad alloc exec -i -t"), "`false`", values(false)),
		accept(attr("network_mode", "string", network), "the mode of the group's network", sameNetwork),
		accept(without("cgroupns", "string", "a task has its own cgroup namespace on cgroup v2"), "`private`", values("private")),
		accept(without("isolation", "string", "it is for Windows"), "`default`", values("default")),
		accept(attr("advertise_ipv6_address", "bool", network), "`false`", values(false)),
		accept(compatKey{key: key{name: "healthchecks", kind: "block", keys: []key{{name: "disable", kind: "bool"}}},
			instead: "live { }, or a check of the service", because: "HEALTHCHECK of an image is not run"}, "`{ disable = true }`", disabled),
		attr("dns_servers", "list(string)", "network { dns { servers } } of the group"),
		attr("dns_search_domains", "list(string)", "network { dns { searches } } of the group"),
		attr("dns_options", "list(string)", "network { dns { options } } of the group"),
		attr("dns", "list(string)", "network { dns { servers } } of the group"),
		attr("port_map", "list(map(number))", "port \"LABEL\" { to = PORT } in the group's network block"),
		attr("ipv4_address", "string", network),
		attr("ipv6_address", "string", network),
		attr("mac_address", "string", network),
		attr("static_ips", "list(string)", network),
		attr("static_mac", "string", network),
		attr("network_aliases", "list(string)", network),
		attr("memory_hard_limit", "number", "resources { memory memory_max }"),
		attr("memory_reservation", "string", "resources { memory memory_max }"),
		attr("memory_swappiness", "number", "memory_swap"),
		attr("cpuset_cpus", "string", "resources { cores }"),
		attr("working_dir", "string", "work_dir"),
		attr("init_path", "string", "init = true, which runs the driver's catatonit"),
		attr("arch", "string", "platform = \"os/arch/variant\""),
		attr("os", "string", "platform = \"os/arch/variant\""),
		attr("variant", "string", "platform = \"os/arch/variant\""),
		attr("load", "string", "image = \"docker-archive:local/image.tar\""),
		attr("volume_driver", "string", "a CSI volume of the group"),
		attr("apparmor_profile", "string", "security_opt = [\"apparmor=PROFILE\"]"),
		without("selinux_opts", "list(string)", "tasks have no SELinux label of their own"),
		without("socket", "string", "there is no podman service"),
		{key: key{name: "logging", kind: "block", keys: []key{
			{name: "type", kind: "string"}, {name: "driver", kind: "string"}, {name: "config", kind: "list(map(string))"},
			{name: "options", kind: "list(map(string))"},
		}}, instead: "the task's logs block, and config { logs { } }"},
		{key: key{name: "storage_opt", kind: "block of strings"}, instead: "readonly_rootfs and /alloc, which ephemeral_disk limits",
			because: "the size of a root file system has no limit of its own"},
	}
}

// volumeOptions is docker's block for mounts of type "volume", which are refused by their type.
func volumeOptions() key {
	return key{name: "volume_options", kind: "block", keys: []key{
		{name: "no_copy", kind: "bool"}, {name: "labels", kind: "map(string)"},
		{name: "driver_config", kind: "block", keys: []key{{name: "name", kind: "string"}, {name: "options", kind: "map(string)"}}},
	}}
}

// sameNetwork reports whether a network_mode names the network that the task has in any case.
func sameNetwork(value any, cfg *drivers.TaskConfig) bool {
	own := "host"
	if n := cfg.NetworkIsolation; n != nil && n.Mode == drivers.NetIsolationModeNone {
		own = "none"
	} else if n != nil && n.Path != "" {
		own = "bridge"
	}
	return value == own
}

func disabled(value any, _ *drivers.TaskConfig) bool {
	block, ok := value.(map[string]any)
	return ok && block["disable"] == true
}

// checkCompat refuses keys of other drivers if ignoring them would change the job's behavior.
func checkCompat(cfg *drivers.TaskConfig) error {
	var given map[string]any
	if err := cfg.DecodeDriverConfig(&given); err != nil {
		return fmt.Errorf("decode task config: %w", err)
	}
	var errs []error
	for _, k := range compatKeys() {
		value := given[k.name]
		if isUnset(value) || k.accepts != nil && k.accepts(value, cfg) {
			continue
		}
		if k.accepted != "" {
			errs = append(errs, fmt.Errorf("%s: only %s is accepted here: %s", k.name, k.accepted, k.advice()))
			continue
		}
		errs = append(errs, fmt.Errorf("%s is a key of another driver and has no effect here: %s", k.name, k.advice()))
	}
	return errors.Join(errs...)
}

// advice returns what to do about a refused key.
func (k compatKey) advice() string {
	text := "leave it out"
	if k.instead != "" {
		text = "use " + k.instead
	}
	if k.because != "" {
		text += "; " + k.because
	}
	return text
}

// isUnset reports whether Nomad left a key out of the config, or filled in an empty value.
func isUnset(value any) bool {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

// checkServerAddress requires that docker's auth.server_address is the registry of the image, since
// credentials are sent there only.
func checkServerAddress(address, registry string) error {
	host := strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	if address == "" || host == registry {
		return nil
	}
	return fmt.Errorf("auth.server_address = %q: the credentials are used only for the image's registry %q; omit server_address", address, registry)
}

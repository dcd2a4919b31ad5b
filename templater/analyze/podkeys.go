package analyze

// podKey is a key of the pod driver's task config, as driver/README.md lists them. A dot precedes
// the keys of a block.
type podKey struct{ name, kind string }

// podKeys are the keys that the driver has. The driver and the templater share no code; a test
// compares this table with the driver's documentation, which is generated from its schema.
func podKeys() []podKey {
	return []podKey{
		{"image", "string"}, {"image_pull_policy", "string"}, {"force_pull", "bool"},
		{"image_pull_timeout", "string"}, {"auth", "block"}, {"auth.username", "string"},
		{"auth.password", "string"}, {"auth.server_address", "string"}, {"auth.email", "string"},
		{"auth.tls_verify", "bool"}, {"platform", "string"}, {"entrypoint", "list(string)"},
		{"command", "string"}, {"args", "list(string)"}, {"work_dir", "string"}, {"init", "bool"},
		{"tty", "bool"}, {"group_add", "list(string)"}, {"labels", "map(string)"},
		{"share", "list(string)"}, {"hostname", "string"}, {"pid_mode", "string"},
		{"ipc_mode", "string"}, {"uts_mode", "string"}, {"ready", "block"},
		{"ready.exec", "list(string)"}, {"ready.http", "string"}, {"ready.tcp", "string"},
		{"ready.file", "string"}, {"ready.interval", "string"}, {"ready.timeout", "string"},
		{"after", "list(string)"}, {"pre_stop", "block"}, {"pre_stop.command", "string"},
		{"pre_stop.args", "list(string)"}, {"pre_stop.timeout", "string"},
		{"pod_volume", "named blocks"}, {"pod_volume.target", "string"},
		{"pod_volume.size", "string"}, {"pod_volume.readonly", "bool"}, {"shm_size", "string"},
		{"volumes", "list(string)"}, {"mount", "blocks"}, {"mount.type", "string"},
		{"mount.source", "string"}, {"mount.target", "string"}, {"mount.readonly", "bool"},
		{"mount.bind_options", "block"}, {"mount.bind_options.propagation", "string"},
		{"mount.tmpfs_options", "block"}, {"mount.tmpfs_options.size", "number"},
		{"mount.tmpfs_options.mode", "number"}, {"mounts", "blocks"}, {"tmpfs", "list(string)"},
		{"devices", "blocks"}, {"devices.host_path", "string"},
		{"devices.container_path", "string"}, {"devices.cgroup_permissions", "string"},
		{"pids_limit", "number"}, {"ulimit", "map(string)"}, {"sysctl", "map(string)"},
		{"cpu_hard_limit", "bool"}, {"cpu_cfs_period", "number"}, {"memory_swap", "string"},
		{"oom_score_adj", "number"}, {"cap_add", "list(string)"}, {"cap_drop", "list(string)"},
		{"privileged", "bool"}, {"readonly_rootfs", "bool"}, {"security_opt", "list(string)"},
		{"userns", "string"}, {"userns_mode", "string"}, {"extra_hosts", "list(string)"},
		{"ports", "list(string)"}, {"logs", "block"}, {"logs.max_files", "number"},
		{"logs.max_file_size", "number"},
	}
}

// refusedKey is a key of another driver that the pod driver refuses, except for harmless values.
type refusedKey struct {
	name string
	// accepted describes the harmless values, as in driver/README.md; "–" for none.
	accepted, instead string
}

// refusedKeys are the keys of Nomad's docker and podman drivers without effect in a pod task.
func refusedKeys() []refusedKey {
	return []refusedKey{
		{"auth_soft_fail", "any", "–"},
		{"container_exists_attempts", "any", "–"},
		{"interactive", "`false`", "nomad alloc exec -i -t"},
		{"network_mode", "the mode of the group's network", `the group's network block, and address_mode = "alloc" in a service`},
		{"cgroupns", "`private`", "a task has its own cgroup namespace on cgroup v2"},
		{"isolation", "`default`", "it is for Windows"},
		{"advertise_ipv6_address", "`false`", `the group's network block, and address_mode = "alloc" in a service`},
		{"healthchecks", "`{ disable = true }`", "a check of the service; HEALTHCHECK of an image is not run"},
		{"dns_servers", "–", "network { dns { servers } } of the group"},
		{"dns_search_domains", "–", "network { dns { searches } } of the group"},
		{"dns_options", "–", "network { dns { options } } of the group"},
		{"dns", "–", "network { dns { servers } } of the group"},
		{"port_map", "–", `port "LABEL" { to = PORT } in the group's network block`},
		{"ipv4_address", "–", `the group's network block, and address_mode = "alloc" in a service`},
		{"ipv6_address", "–", `the group's network block, and address_mode = "alloc" in a service`},
		{"mac_address", "–", `the group's network block, and address_mode = "alloc" in a service`},
		{"static_ips", "–", `the group's network block, and address_mode = "alloc" in a service`},
		{"static_mac", "–", `the group's network block, and address_mode = "alloc" in a service`},
		{"network_aliases", "–", `the group's network block, and address_mode = "alloc" in a service`},
		{"memory_hard_limit", "–", "resources { memory memory_max }"},
		{"memory_reservation", "–", "resources { memory memory_max }"},
		{"memory_swappiness", "–", "memory_swap"},
		{"cpuset_cpus", "–", "resources { cores }"},
		{"working_dir", "–", "work_dir"},
		{"init_path", "–", "init = true, which runs the driver's catatonit"},
		{"arch", "–", `platform = "os/arch/variant"`},
		{"os", "–", `platform = "os/arch/variant"`},
		{"variant", "–", `platform = "os/arch/variant"`},
		{"load", "–", `image = "docker-archive:local/image.tar"`},
		{"runtime", "–", "the runtime of the plugin's config, which the operator chooses"},
		{"volume_driver", "–", "a CSI volume of the group"},
		{"apparmor_profile", "–", `security_opt = ["apparmor=PROFILE"]`},
		{"selinux_opts", "–", "tasks have no SELinux label of their own"},
		{"socket", "–", "there is no podman service"},
		{"logging", "–", "the task's logs block, and config { logs { } }"},
		{"storage_opt", "–", "readonly_rootfs and /alloc, which ephemeral_disk limits; the size of a root file system has no limit of its own"},
	}
}

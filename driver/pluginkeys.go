package driver

// pluginKeys lists the keys of the plugin's config block.
func pluginKeys() []key {
	return []key{
		{name: "runtime", kind: "string", unset: "crun, else runc", meaning: "path of an OCI runtime", docker: none, podman: none},
		{name: "conmon", kind: "string", unset: "found on `PATH`", meaning: "path of conmon", docker: none, podman: none},
		{name: "data_dir", kind: "string", value: `"/var/lib/nomad-driver-pod"`, meaning: "images, and the writable roots of tasks; accessible to root only. Drain the node before changing it", docker: none, podman: none},
		{name: "run_dir", kind: "string", value: `"/run/nomad-driver-pod"`, meaning: "state; accessible to root only. Should be on tmpfs; drain the node before changing it", docker: none, podman: none},
		{name: "host_paths", kind: "list(string)", unset: "programs, libraries, parts of `/etc`, `/opt/nomad-sidecar`", docker: none, podman: none,
			meaning: "host paths that make up the root of a task without an image, as `/path` or `/path/on/host:/path/in/task`"},
		{name: "image", kind: "block", docker: none, podman: none, absent: `{ pull_timeout = "5m", pull_activity_timeout = "1m", gc = true, gc_delay = "3m" }`, keys: []key{
			{name: "auth_file", kind: "string", unset: "no credentials", meaning: "registry credentials for every job, in the format of podman and skopeo; root's own are never used", docker: "auth.config", podman: "auth.config"},
			{name: "registries_conf", kind: "string", unset: "the host's", meaning: "mirrors, and registries without TLS, as in containers-registries.conf(5)", docker: none, podman: none},
			{name: "signature_policy", kind: "string", unset: "the host's, else every image", meaning: "policy that accepts images by signature or origin, as in containers-policy.json(5)", docker: none, podman: none},
			{name: "paths", kind: "list(string)", unset: "none", meaning: "directories, or archives, that `image` and `pod-debug -image` may name by an absolute path", docker: none, podman: none},
			{name: "pull_timeout", kind: "string", value: `"5m"`, meaning: "how long a pull may take", docker: "image_pull_timeout", podman: none},
			{name: "pull_activity_timeout", kind: "string", value: `"1m"`, meaning: "maximum time without data before the request is retried; `0s` for no limit", docker: "pull_activity_timeout", podman: none},
			{name: "gc", kind: "bool", value: "true", meaning: "whether unused images are removed", docker: "gc.image", podman: none},
			{name: "gc_delay", kind: "string", value: `"3m"`, meaning: "how long an unused image is kept", docker: "gc.image_delay", podman: none},
		}},
		{name: "pids_limit", kind: "number", value: "4096", meaning: "default and maximum number of processes of a task; `0` is no limit", podman: none},
		{name: "shared_memory_max", kind: "string", value: `"256m"`, docker: none, podman: none,
			meaning: "maximum memory of a pod that outlives its tasks: `/dev/shm`, every `pod_volume`, System V IPC and message queues together; see [Shared memory](#shared-memory)"},
		{name: "pod_linger", kind: "string", value: `"1m"`, meaning: "how long a pod without tasks is kept, so that shared memory outlives a restart", docker: none, podman: none},
		{name: "allow_caps", kind: "list(string)", unset: "Nomad's defaults", meaning: "capabilities that tasks may have, by default or with `cap_add`; `[\"all\"]` for all", podman: none},
		{name: "denied_host_uids", kind: "string", value: `"0"`, docker: none, podman: none,
			meaning: "ids and ranges such as `0,100-199` of host users that tasks without an image may not run as, as with Nomad's exec driver; `\"\"` allows all. Images are not affected"},
		{name: "denied_host_gids", kind: "string", unset: "none", docker: none, podman: none,
			meaning: "the same for groups of these users, including additional groups"},
		{name: "allow_host_namespaces", kind: "bool", unset: "`false`", meaning: "whether `pid_mode`, `ipc_mode` and `uts_mode` are allowed", docker: none, podman: none},
		{name: "allowed_modes", kind: "block", podman: none, keys: []key{
			{name: "pid", kind: "list(string)", unset: "none", meaning: "`[\"host\"]` allows `pid_mode`, even without `allow_host_namespaces`; `*` stands for a part of a value", podman: none},
			{name: "ipc", kind: "list(string)", unset: "none", meaning: "the same for `ipc_mode`", podman: none},
			{name: "uts", kind: "list(string)", unset: "none", meaning: "the same for `uts_mode`", podman: none},
			{name: "userns", kind: "list(string)", unset: "none", meaning: "`[\"host\"]` is accepted and has no effect: tasks are in the host's user namespace anyway", podman: none},
		}},
		{name: "volumes", kind: "block", keys: []key{
			{name: "enabled", kind: "bool", unset: "`false`", meaning: "whether `volumes` and `mount` may name any path of the host"},
		}},
		{name: "allow_privileged", kind: "bool", unset: "`false`", podman: none,
			meaning: "whether `privileged`, `seccomp=` and any device are allowed: everyone who may run a job then has root on the host"},
		{name: "allow_devices", kind: "list(string)", unset: "none", meaning: "devices of the host that `devices` may name; `*` stands for a part of a name: `/dev/dri/*`", docker: none, podman: none},
		{name: "ulimit_max", kind: "map(string)", docker: none, podman: none,
			meaning: "maximum hard limits for `ulimit`: `rtprio = \"10\"`, `-1` for no maximum. Without an entry, `nice`, `rtprio`, `msgqueue`, `sigpending`, and `memlock` of a task without a memory limit are bounded by the client's own limits"},
		{name: "swap_max", kind: "string", unset: "the task's memory", docker: none, podman: none,
			meaning: "maximum swap that `memory_swap` may add to a task's memory: a size such as `2g`, `0` for none, `-1` for no maximum"},
		{name: "logs_max", kind: "string", value: `"1g"`, docker: none, podman: none,
			meaning: "maximum size of a task's rotated log files per output, `max_files` × `max_file_size`"},
		{name: "log_collector", kind: "string", value: `"pod"`, docker: none, podman: none,
			meaning: "which process writes task logs: `pod`, one process of this plugin for the whole node, or `nomad`, one process of Nomad for each task"},
		{name: "debug_containers", kind: "bool", unset: "`false`", meaning: "whether `nomad alloc exec … pod-debug` may run a debug container in a task's namespaces", docker: none, podman: none},
	}
}

package driver

import "slices"

// taskKeys lists the keys of a task's config block.
func taskKeys() []key {
	return slices.Concat(imageKeys(), processKeys(), podKeys(), lifeKeys(), mountKeys(), limitKeys(), securityKeys(), networkKeys(), logKeys())
}

func logKeys() []key {
	return []key{
		{name: "logs", kind: "block", docker: none, podman: none, keys: []key{
			{name: "max_files", kind: "number", value: "10", meaning: "the same as in the task's `logs` block, which Nomad does not pass to drivers", docker: none, podman: none},
			{name: "max_file_size", kind: "number", value: "10", meaning: "MiB per file; the product with `max_files` is at most the operator's `logs_max`", docker: none, podman: none},
		}},
	}
}

func imageKeys() []key {
	return []key{
		{name: "image", kind: "string", meaning: "`docker.io/library/nginx:1.27`, `docker://…`, `oci:PATH[:TAG]`, `oci-archive:PATH[:TAG]`, " +
			"`docker-archive:PATH`; a relative path starts in the task's directory and may lead to `../alloc`, an absolute one needs `image.paths`. Without an image, host paths are the root"},
		{name: "image_pull_policy", kind: "string", unset: "`missing`", meaning: "or `always`, `never`", docker: none, podman: none},
		{name: "force_pull", kind: "bool", unset: "`false`", meaning: "the same as `image_pull_policy = \"always\"`"},
		{name: "image_pull_timeout", kind: "string", unset: "the operator's", meaning: "how long the pulls may take, of all images of the task together"},
		{name: "auth", kind: "block", keys: []key{
			{name: "username", kind: "string", required: true, meaning: "for the image's registry"},
			{name: "password", kind: "string", required: true, meaning: "for the image's registry"},
			{name: "server_address", kind: "string", unset: "the image's registry", meaning: "must be the image's registry", podman: none},
			{name: "email", kind: "string", meaning: "ignored", podman: none},
			{name: "tls_verify", kind: "bool", unset: "`true`", meaning: "`false` is refused: set `insecure = true` for the registry in registries.conf", docker: none},
		}},
		{name: "platform", kind: "string", unset: "the host's", meaning: "`os/arch[/variant]`", docker: none, podman: none},
		{name: "pull_only", kind: "bool", unset: "`false`", docker: none, podman: none,
			meaning: "pull the images of `image` and `mount { type = \"image\" }`, then end with exit code 0. No container is started, and other keys are refused. For jobs of type `batch` and `sysbatch`"},
	}
}

func processKeys() []key {
	return []key{
		{name: "entrypoint", kind: "list(string)", unset: "the image's", meaning: "precedes the command; it discards the image's command, and `[\"\"]` is an empty one"},
		{name: "command", kind: "string", unset: "the image's", meaning: "the program; required without an image"},
		{name: "args", kind: "list(string)", meaning: "of the command"},
		{name: "work_dir", kind: "string", unset: "the image's, or `/`", meaning: "created if missing", podman: "working_dir"},
		{name: "init", kind: "bool", unset: "`false`", meaning: "run catatonit as the first process, which reaps orphans and forwards signals"},
		{name: "tty", kind: "bool", unset: "`false`", meaning: "`true` is refused, see below; `nomad alloc exec -t` provides a terminal"},
		{name: "group_add", kind: "list(string)", meaning: "names or numbers of additional groups", podman: none},
		{name: "labels", kind: "map(string)", meaning: "annotations `" + "org.nomadproject.label.NAME" + "` of the container, after those of the image"},
	}
}

func podKeys() []key {
	return []key{
		{name: "share", kind: "list(string)", unset: "`[\"ipc\", \"uts\"]`", docker: none, podman: none,
			meaning: "namespaces shared with the pod's other tasks that share them too: `ipc` (with `/dev/shm`), `uts`, `pid`; `[]` for none"},
		{name: "hostname", kind: "string", unset: "the group's, or the short allocation id", meaning: "of the pod; the first task's wins. Nomad 1.10 to 2.0.5 refuse `hostname` in the group's `network` block for this driver: set it here"},
		{name: "pid_mode", kind: "string", meaning: "`host`, if the operator allows it", podman: none},
		{name: "ipc_mode", kind: "string", meaning: "`host`, if the operator allows it"},
		{name: "uts_mode", kind: "string", meaning: "`host`, if the operator allows it", podman: none},
	}
}

func mountKeys() []key {
	return []key{
		{name: "volumes", kind: "list(string)", meaning: "`SOURCE:TARGET[:ro]`. A relative source starts in the task's directory, `../alloc` is the allocation's; " +
			"a missing one is created, and symbolic links are not followed. An absolute one needs the operator's `volumes { enabled = true }`"},
		{name: "mount", kind: "blocks", podman: none, keys: mountBlock()},
		{name: "mounts", kind: "blocks", podman: none, keys: mountBlock(), alias: true, meaning: "another name for `mount`"},
		{name: "tmpfs", kind: "list(string)", docker: none,
			meaning: "`TARGET[:size=64m,mode=1777,uid=0,gid=0,ro,exec,suid,dev]`"},
		{name: "devices", kind: "blocks", podman: `["/dev/a:/dev/b:rw"]`, keys: []key{
			{name: "host_path", kind: "string", podman: none, unset: "required", meaning: "a device that the operator's `allow_devices` names, or a harmless one such as `/dev/null`"},
			{name: "container_path", kind: "string", podman: none, unset: "`host_path`", meaning: "path in the task, outside of its mounts"},
			{name: "cgroup_permissions", kind: "string", podman: none, unset: "`rwm`", meaning: "some of `r`, `w` and `m`"},
		}},
		{name: "cdi_devices", kind: "list(string)", docker: none, podman: none,
			meaning: "devices of the [Container Device Interface](#devices) that the operator's `allow_devices` names: `vendor.com/class=name`"},
	}
}

func mountBlock() []key {
	return []key{
		{name: "type", kind: "string", meaning: "`bind`, `tmpfs` or `image`", unset: "required"},
		{name: "source", kind: "string", meaning: "of a bind mount as for `volumes`, and it must exist; of an image as for `image`"},
		{name: "target", kind: "string", unset: "required", meaning: "absolute path in the task"},
		{name: "readonly", kind: "bool", unset: "`false`", meaning: "including all mounts below; an image is always read-only"},
		{name: "bind_options", kind: "block", keys: []key{
			{name: "propagation", kind: "string", unset: "`rprivate`", meaning: "or `private`, `slave`, `rslave`, `shared`, `rshared`; of an absolute source"},
		}},
		{name: "tmpfs_options", kind: "block", keys: []key{
			{name: "size", kind: "number", unset: "half of the host's memory", meaning: "bytes; used memory counts as the task's"},
			{name: "mode", kind: "number", unset: "`1777` octal", meaning: "permissions, in decimal: 511 is 0777"},
		}},
		{name: "image_options", kind: "block", docker: none, keys: []key{
			{name: "subpath", kind: "string", unset: "the whole image", meaning: "a directory or file of the image; its symbolic links are followed within it", docker: none},
		}},
		{name: "image_pull_policy", kind: "string", unset: "`missing`", meaning: "or `always`, `never`; of `type = \"image\"`", docker: none},
		{name: "auth", kind: "block", docker: none, keys: []key{
			{name: "username", kind: "string", required: true, meaning: "for the registry of `source`", docker: none},
			{name: "password", kind: "string", required: true, meaning: "for the registry of `source`", docker: none},
		}},
	}
}

func limitKeys() []key {
	return []key{
		{name: "pids_limit", kind: "number", unset: "the operator's", meaning: "maximum number of processes and threads, up to the operator's; docker's `-1` for no limit is not accepted"},
		{name: "ulimit", kind: "map(string)", meaning: "`nofile = \"1024:4096\"`: soft and hard limit, or one number for both; `-1` is no limit. Up to the operator's `ulimit_max`"},
		{name: "sysctl", kind: "map(string)", meaning: "`net.*` in a network namespace; `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*`; `kernel.domainname`. In a shared namespace it applies to the pod; limits of shared memory and queues are minimums for the pod, bounded by the operator's `shared_memory_max`"},
		{name: "cpu_hard_limit", kind: "bool", unset: "`false`", meaning: "limit CPU time to `resources { cpu }` even on an idle host"},
		{name: "cpu_cfs_period", kind: "number", unset: "`100000`", meaning: "CFS period in microseconds: 1000 to 1000000"},
		{name: "memory_swap", kind: "string", unset: "the memory limit: no swap", meaning: "memory and swap together, `256m`; `-1` is unlimited swap. Up to the operator's `swap_max`", docker: none},
		{name: "oom_score_adj", kind: "number", unset: "`0`", meaning: "up to `1000`: killed first"},
	}
}

func securityKeys() []key {
	return []key{
		{name: "cap_add", kind: "list(string)", meaning: "within `allow_caps`. A user other than root gets only these, as ambient capabilities"},
		{name: "cap_drop", kind: "list(string)", meaning: "or `[\"all\"]`; `cap_add` wins"},
		{name: "privileged", kind: "bool", unset: "`false`", meaning: "all capabilities and devices, no seccomp, nothing masked, `/sys` writable; if the operator allows it"},
		{name: "readonly_rootfs", kind: "bool", unset: "`false`", meaning: "`/alloc`, `/local`, `/secrets`, `/dev/shm`, mounts and the image's volumes stay writable; for `/tmp` or `/run` use `tmpfs`"},
		{name: "security_opt", kind: "list(string)", meaning: "`no-new-privileges=false` lets set-uid programs work; `apparmor=PROFILE`, `apparmor=unconfined`, `seccomp=/path/on/host.json` and `seccomp=unconfined` need the operator's `allow_privileged`"},
		{name: "runtime", kind: "string", unset: "the plugin's", meaning: "`runsc`: the pod is a [gVisor](#gvisor) sandbox, if the operator has it", podman: none},
		{name: "userns", kind: "string", unset: "`host`, or the operator's", meaning: "`auto`: root of the task is not root of the host, if the operator has ids for that; see [User namespaces](#user-namespaces)", docker: "userns_mode"},
		{name: "userns_mode", kind: "string", meaning: "another name for `userns`", podman: "userns"},
	}
}

func networkKeys() []key {
	return []key{
		{name: "extra_hosts", kind: "list(string)", meaning: "`NAME:ADDRESS`, for the task's `/etc/hosts`; the address `host-gateway` is the default gateway of the group's network, or 127.0.0.1 in the host's"},
		{name: "ports", kind: "list(string)", meaning: "labels of the group's ports. Nomad publishes them in bridge mode even if they are not listed; an error in the host's network"},
	}
}

package analyze

func lifecycleCodes() []Code {
	return []Code{
		{
			ID: "NS1020", Name: "SidecarWithoutRestart", Severity: Warning,
			Text: "Sidecar task %q of group %q has no restart block of its own and inherits the group's: when its restarts are used up, the whole allocation fails.",
			Fix:  "Add restart { mode = \"delay\" } with attempts, interval and delay to the task.",
			Why: "A sidecar is a task with `lifecycle { sidecar = true }`. Not reported if the group's restart block has " +
				"`mode = \"delay\"`. A job as the server stores it has the block in each task, so there it is never reported.",
			Reports: []string{issues + "12250", pulls + "12275"},
		},
		{
			ID: "NS1021", Name: "PreStopCutShort", Severity: Warning,
			Text: "The pre_stop of task %q of group %q may take %s, but gets at most half of kill_timeout, %s.",
			Fix:  "Set kill_timeout to at least twice the timeout of pre_stop, plus the time that the program needs to drain after its signal.",
			Why: "The pod driver runs `pre_stop` within `kill_timeout` (default 5s) for at most half of it, so that the program has " +
				"the other half to drain after the signal. The default timeout of `pre_stop` is 5s. `shutdown_delay` " +
				"precedes both and is not part of `kill_timeout`.",
			Reports: []string{issues + "10578"},
		},
		{
			ID: "NS1022", Name: "DependentStopsLate", Severity: Info,
			Text: "Task %q of group %q ends after %q, but waits for it for at most half of its own kill_timeout, %s, while %q may take %s.",
			Fix:  "Set kill_timeout of the task that ends last to at least twice that of its dependents.",
			Why: "With `after`, a pod's tasks stop in reverse order, within the kill timeout of the task that was started first. If " +
				"a dependent takes longer, the order is lost.",
		},
		{
			ID: "NS1023", Name: "NoShutdownDelay", Severity: Info,
			Text: "%s has services, but no shutdown_delay: clients still use their addresses while it stops.",
			Fix: "Set shutdown_delay = \"10s\" beside the service, in the group or in the task that has it: the time that clients " +
				"need to notice the deregistration.",
			Why: "Nomad deregisters the services and stops the tasks at the same time. Reported once for a group of a service or system " +
				"job, unless it or one of its tasks has the delay, and for each task with services of its own: these are deregistered " +
				"only after the delay of the group, so that the task needs one itself.",
			Reports: []string{issues + "23326", issues + "2441", issues + "2607", issues + "15602"},
		},
		{
			ID: "NS1024", Name: "KillTimeoutAboveDefault", Severity: Info,
			Text: "kill_timeout of task %q of group %q is %s, but clients allow 30s unless max_kill_timeout in their configuration is higher.",
			Fix:  "Ask the operators to raise max_kill_timeout, or shorten kill_timeout.",
			Why:  "A client silently uses the smaller of the two values.",
			Reports: []string{
				issues + "10005", pulls + "13626",
			},
		},
		{
			ID: "NS1025", Name: "LeaderEndsFirst", Severity: Warning,
			Text: "Task %q of group %q is the leader, but ends before the others: Nomad then stops them too.",
			Fix:  "Set leader in the main task instead.",
			Why: "When the leader ends, Nomad stops every other task of the allocation. A prestart or poststart task that is no " +
				"sidecar ends while the others start or run.",
			Reports: []string{pulls + "13498"},
		},
		{
			ID: "NS1026", Name: "CanaryWithStaticPort", Severity: Info,
			Text: "Group %q updates with canaries, but port %q is static: a canary needs a node on which no allocation of the group runs.",
			Fix:  "Use a dynamic port, or make sure that there are enough nodes.",
			Why:  "Canaries run beside the old allocations, which hold the port.",
			Reports: []string{
				issues + "24904", issues + "18509",
			},
		},
	}
}

func fileCodes() []Code {
	return []Code{
		{
			ID: "NS1030", Name: "ImageWithoutVersion", Severity: Warning,
			Text: "Task %q of group %q runs image %q, which may be another one at each start.",
			Fix:  "Name a version tag or, better, a digest: image@sha256:….",
			Why: "The tag `latest` and an image without a tag move; a node that has an old one keeps it, and an update rolls out " +
				"nothing. Applies to docker, podman and pod. Images from a file (`load`, `oci:`, `docker-archive:`) and " +
				"names with `${…}` are not reported.",
			Reports: []string{issues + "19095", kubeDocs},
		},
		{
			ID: "NS1031", Name: "FileOutsideTask", Severity: Warning,
			Text: "The %s of task %q of group %q writes %q, which is not in the task's container.",
			Fix:  "Write below local/, secrets/ or ../alloc, or mount the file: volumes = [\"PATH:TARGET\"].",
			Why: "`destination` is relative to the task's directory on the client. A docker, podman or pod task has only `local/`, " +
				"`secrets/` and the alloc directory of it, and what its `volumes` and `mount` name. A template with " +
				"`env = true` is read by Nomad and not reported.",
			Reports: []string{issues + "6822", issues + "8962"},
		},
		{
			ID: "NS1032", Name: "VariableAsVolumeSource", Severity: Warning,
			Text:    "Volume %q of task %q of group %q: %s is the path inside the container, so that the source is a directory of the host.",
			Fix:     "Use a source relative to the task's directory, such as \"local/data:/data\" or \"../alloc/data:/data\".",
			Why:     "In the config of a docker or podman task `NOMAD_TASK_DIR` is `/local`, `NOMAD_ALLOC_DIR` `/alloc` and `NOMAD_SECRETS_DIR` `/secrets`.",
			Reports: []string{issues + "15491"},
		},
		{
			ID: "NS1033", Name: "SecretWithoutVault", Severity: Warning,
			Text: "A template of task %q of group %q reads a secret of Vault, but the task has no vault block.",
			Fix:  "Add vault { } to the task, the group or the job.",
			Why: "Without the block, Nomad asks Vault without a token. Not reported for templates with other delimiters, nor if the data is " +
				"unknown or comes from a file.",
			Reports: []string{issues + "5262"},
		},
	}
}

func memoryCodes() []Code {
	return []Code{
		{
			ID: "NS1040", Name: "MemoryAboveLimit", Severity: Error,
			Text: "An allocation of group %q reserves %d MB with its sidecars, more than the limit of %d MB: %s.",
			Fix:  "Reduce memory of the tasks, or choose fewer sidecars.",
			Why: "Only with `-memory MB` or `memory` in the policy's `analyze` block. As in Nomad, tasks that do not run at the " +
				"same time are not added up. Not reported if the memory of a task is unknown.",
		},
		{
			ID: "NS1041", Name: "MemoryMaxTooSmall", Severity: Error,
			Text: "Task %q of group %q has memory_max = %d, less than memory, %d.",
			Fix:  "Set memory_max to more than memory, or leave it out.",
			Why:  "Nomad refuses the job. Without `memory` its default, 300, counts.",
		},
		{
			ID: "NS1042", Name: "MemoryMaxNeedsOperator", Severity: Info,
			Text: "Task %q of group %q relies on memory_max = %d, which has no effect unless the cluster allows memory oversubscription.",
			Fix:  "Ask the operators: nomad operator scheduler set-config -memory-oversubscription=true.",
			Why:  "Where it is off, which is the default, the limit is `memory`, and a task that needs more is killed.",
			Reports: []string{
				issues + "10895", issues + "16119",
			},
		},
		{
			ID: "NS1043", Name: "HeapAboveLimit", Severity: Warning,
			Text: "Task %q of group %q lets Java's heap grow to %d MB with %s, but its memory limit is %d MB: it is killed before the heap is full.",
			Fix:  "Raise memory, or lower -Xmx well below it: Java needs memory beside the heap.",
			Why: "Reads `-Xmx` in `args`, `command`, `jvm_options` and variables such as JAVA_OPTS. The limit is `memory_max`, else `memory`, else " +
				"Nomad's default of 300. Drivers without a limit, such as raw_exec, are not reported.",
			Reports: []string{issues + "18920", issues + "8141"},
		},
		{
			ID: "NS1044", Name: "MemoryFilesAboveLimit", Severity: Warning,
			Text: "%s of task %q of group %q may hold %d MB, but the task's memory limit is %d MB: it is killed before that is full.",
			Fix:  "Raise memory, or reduce the size.",
			Why: "Files of a tmpfs and of `/dev/shm` are memory of the task that writes them. Reads `shm_size`, `tmpfs`, and `mount` of type tmpfs of " +
				"docker, podman and pod tasks.",
		},
	}
}

func podCodes() []Code {
	return []Code{
		{
			ID: "NS1050", Name: "PodKeyRefused", Severity: Error,
			Text: "Task %q of group %q: the pod driver refuses %s. Instead: %s.",
			Fix:  "Replace the key as the message says; see driver/README.md, \"Unsupported keys\".",
			Why: "A key of the docker or podman driver, or a value, that the pod driver does not support and must not ignore. The table is " +
				"the driver's own.",
		},
		{
			ID: "NS1051", Name: "PodKeyUnknown", Severity: Error,
			Text: "Task %q of group %q: the pod driver has no key %q.%s",
			Fix:  "Correct or remove the key; see driver/README.md, \"Task configuration\".",
			Why:  "An unknown key fails the task before anything is created.",
		},
		{
			ID: "NS1052", Name: "PodWithoutProgram", Severity: Error,
			Text: "Task %q of group %q has neither an image nor a command.",
			Fix:  "Set `image`, or `command` for a program of the client.",
			Why:  "The pod driver fails the task.",
		},
		{
			ID: "NS1053", Name: "PodOrder", Severity: Error,
			Text: "Task %q of group %q never starts: %s.",
			Fix:  "Correct `after`: it names tasks of the group that start before or together with this one.",
			Why: "`after` names a task that the group does not have, or that Nomad starts only when this one is ready, or tasks that wait for each " +
				"other. Only tasks of the pod driver count.",
		},
		{
			ID: "NS1054", Name: "PodLogsIgnored", Severity: Warning,
			Text: "The logs block of task %q of group %q has no effect on the pod driver, which keeps 10 files of 10 MB.",
			Fix:  "Repeat it in the config: config { logs { max_files = … max_file_size = … } }.",
			Why: "Nomad does not pass the block to drivers, and this one collects output itself. Injection of a sidecar repeats it. `disabled = true` " +
				"is passed.",
		},
		{
			ID: "NS1055", Name: "PodNetwork", Severity: Error,
			Text: "Group %q has pod tasks and %s: Nomad fails the allocation.",
			Fix:  "Set hostname in a task's config; for isolation use a CNI network without a route.",
			Why: "Nomad 1.10 to 2.0.5 refuse `hostname` in the network block, and `mode = \"none\"`, for drivers that leave the network " +
				"to Nomad.",
		},
		{
			ID: "NS1056", Name: "PodPortsInHostNetwork", Severity: Error,
			Text: "Task %q of group %q has ports in its config, but the group is in the host's network, which maps none.",
			Fix:  "Set mode = \"bridge\" in the group's network block, or leave `ports` out and listen on NOMAD_PORT_LABEL.",
			Why:  "The pod driver fails the task. Nomad publishes ports in bridge mode even if they are not listed.",
		},
		{
			ID: "NS1057", Name: "PodSidecarWithoutReady", Severity: Info,
			Text: "Prestart sidecar %q of group %q has no ready block: the main tasks start when it runs, not when it serves.",
			Fix:  "Add ready { tcp = \"127.0.0.1:PORT\" } or another check to its config.",
			Why:  "With `ready`, the start of the task returns when the check passes, and Nomad starts the main tasks then.",
			Reports: []string{
				issues + "20287", issues + "15709",
			},
		},
	}
}

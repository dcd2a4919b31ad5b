package kube

func podFields() map[string]Field {
	return group("PodSpec", map[string]Field{
		"volumes": yes("see VolumeSource"), "containers": yes("a task each"),
		"initContainers":                yes("tasks with `lifecycle { hook = \"prestart\" }`; with restartPolicy: Always, `sidecar = true`"),
		"ephemeralContainers":           no("use `nomad alloc exec ALLOC pod-debug`"),
		"restartPolicy":                 yes("`restart`, and the type of a job made from a Pod"),
		"terminationGracePeriodSeconds": yes("`kill_timeout` of each task, by default 30s as in Kubernetes"),
		"activeDeadlineSeconds":         no("Nomad 1.11 has no limit for the time that an allocation runs"),
		"dnsPolicy":                     no("there is no DNS of a cluster: tasks have the client's name servers, or those of dnsConfig", "ClusterFirst", "Default", "None"),
		"dnsConfig":                     yes("`network { dns { } }`"),
		"serviceAccountName":            no("a task has an `identity` of Nomad's own; a service account's rights are those of an ACL policy for that identity", "default"),
		"serviceAccount":                no("the former name of serviceAccountName", "default"),
		"automountServiceAccountToken":  no("there is no Kubernetes API to talk to", "false"),
		"hostNetwork":                   yes("`network { mode = \"host\" }`"),
		"hostPID":                       yes("`pid_mode = \"host\"`, which the operator must allow"),
		"hostIPC":                       yes("`ipc_mode = \"host\"`, which the operator must allow"),
		"shareProcessNamespace":         yes("`share = [\"ipc\", \"uts\", \"pid\"]`"),
		"securityContext":               yes("see PodSecurityContext"),
		"imagePullSecrets":              decide("give the client credentials in image.auth_file of the driver's plugin config, or the task an `auth` block"),
		"hostname":                      yes("`hostname`"),
		"hostnameOverride":              yes("`hostname`"),
		"subdomain":                     no("Nomad gives allocations no DNS names"),
		"setHostnameAsFQDN":             no("Nomad gives allocations no DNS names", "false"),
		"hostAliases":                   yes("`extra_hosts`"),
		"priorityClassName":             decide("choose a `priority` of the job from 1 to 100"),
		"priority":                      decide("choose a `priority` of the job from 1 to 100; Kubernetes' numbers have another scale", "0"),
		"preemptionPolicy":              no("preemption is an option of Nomad's scheduler", "PreemptLowerPriority"),
		"readinessGates":                no("Nomad has no conditions that other programs set"),
		"runtimeClassName":              no("the operator chooses the OCI runtime of all pods of a client"),
		"enableServiceLinks":            no("Nomad sets no variables for services; use a template with nomadService", "false", "true"),
		"overhead":                      no("the driver needs about 1 MiB a task"),
		"os":                            yes("only linux"),
		"hostUsers":                     decide("set `userns = \"auto\"` in every task of the group, on clients with ids for pods", "true"),
		"schedulingGates":               no("register the job when it may be placed"),
		"schedulingGroup":               no("Nomad places allocations one by one"),
		"resourceClaims":                no("use a `device` block in the task's resources"),
		"resources":                     no("Nomad has limits for tasks only; a group's resources are their sum"),
		"evictionResponders":            no("Nomad has no eviction API"),
		"schedulerName":                 no("Nomad has one scheduler", "default-scheduler"),
		"nodeName":                      yes("`constraint` on ${node.unique.name}"),
		"nodeSelector":                  yes("`constraint`"),
		"affinity":                      decide("write `constraint`, `affinity` or `spread` blocks"),
		"topologySpreadConstraints":     decide("write a `spread` block over an attribute or meta of the clients"),
		"tolerations":                   decide("Nomad has no taints; use node pools (`node_pool`) or constraints on the meta of clients"),
	})
}

func placementFields() map[string]Field {
	return join(
		group("PodOS", map[string]Field{"name": yes("only linux")}),
		group("HostAlias", map[string]Field{"ip": yes("`extra_hosts`"), "hostnames": yes("`extra_hosts`")}),
		group("PodDNSConfig", map[string]Field{"nameservers": yes("`dns { servers }`"), "searches": yes("`dns { searches }`"), "options": yes("`dns { options }`")}),
		group("PodDNSConfigOption", map[string]Field{"name": yes("`dns { options }`"), "value": yes("`dns { options }`")}),
	)
}

func securityFields() map[string]Field {
	selinux := no("tasks have no SELinux label of their own")
	windows := no("the driver runs on Linux only")
	nonRoot := yes("with runAsUser; alone it needs a decision, since Nomad does not check an image's user")
	return join(
		group("PodSecurityContext", map[string]Field{
			"runAsUser": yes("`user` of each task"), "runAsGroup": yes("`user = \"UID:GID\"`"), "runAsNonRoot": nonRoot,
			"supplementalGroups":       yes("`group_add`"),
			"supplementalGroupsPolicy": no("the groups of the image's user are kept, as with Merge", "Merge"),
			"fsGroup":                  yes("`group_add`; the owner of a persistent volume's files needs a decision"),
			"fsGroupChangePolicy":      no("the driver changes no owners"),
			"sysctls":                  yes("`sysctl`"),
			"seccompProfile":           yes("RuntimeDefault is the default; Unconfined is `security_opt`"),
			"appArmorProfile":          yes("RuntimeDefault is the default; others are `security_opt`"),
			"seLinuxOptions":           selinux, "seLinuxChangePolicy": selinux, "windowsOptions": windows,
		}),
		group("SecurityContext", map[string]Field{
			"capabilities": yes("`cap_add`, `cap_drop`"), "privileged": yes("`privileged`, which the operator must allow"),
			"runAsUser": yes("`user`"), "runAsGroup": yes("`user = \"UID:GID\"`"), "runAsNonRoot": nonRoot,
			"readOnlyRootFilesystem":   yes("`readonly_rootfs`"),
			"allowPrivilegeEscalation": yes("false is the default; true is `security_opt = [\"no-new-privileges=false\"]`"),
			"procMount":                no("paths of /proc are always masked", "Default"),
			"seccompProfile":           yes("as for the pod"), "appArmorProfile": yes("as for the pod"),
			"seLinuxOptions": selinux, "windowsOptions": windows,
		}),
		group("Capabilities", map[string]Field{"add": yes("`cap_add`"), "drop": yes("`cap_drop`")}),
		group("Sysctl", map[string]Field{"name": yes("`sysctl`"), "value": yes("`sysctl`")}),
		group("SeccompProfile", map[string]Field{"type": yes("`security_opt`"), "localhostProfile": decide("set `security_opt = [\"seccomp=/path/on/the/host.json\"]`, which the operator must allow")}),
		group("AppArmorProfile", map[string]Field{"type": yes("`security_opt`"), "localhostProfile": yes("`security_opt = [\"apparmor=NAME\"]`, which the operator must allow")}),
	)
}

func containerFields() map[string]Field {
	return join(
		group("Container", map[string]Field{
			"name": yes("the task's name"), "image": yes("`image`"),
			"command": yes("`entrypoint`"), "args": yes("`args`"), "workingDir": yes("`work_dir`"),
			"ports": yes("`network { port }`"), "env": yes("`env`, or a template"), "envFrom": yes("`env`, or a template"),
			"resources":          yes("`resources`"),
			"resizePolicy":       no("Nomad does not resize a running task"),
			"restartPolicy":      yes("Always of an init container: `sidecar = true`; others have no equivalent"),
			"restartPolicyRules": no("Nomad restarts by the `restart` block, whatever the exit code"),
			"volumeMounts":       yes("`volumes`, `pod_volume` or `volume_mount`"),
			"volumeDevices":      no("Nomad mounts block devices as file systems only"),
			"livenessProbe":      yes("`live`; see Probe"), "readinessProbe": yes("see Probe"), "startupProbe": yes("`ready`"),
			"lifecycle":                yes("see Lifecycle"),
			"terminationMessagePath":   no("write the reason to stderr; `nomad alloc logs -stderr` shows it", "/dev/termination-log"),
			"terminationMessagePolicy": no("write the reason to stderr; `nomad alloc logs -stderr` shows it", "File"),
			"imagePullPolicy":          yes("`image_pull_policy`"),
			"securityContext":          yes("see SecurityContext"),
			"stdin":                    no("a task has no input; use `nomad alloc exec -i`"),
			"stdinOnce":                no("a task has no input; use `nomad alloc exec -i`"),
			"tty":                      no("a task has no terminal; use `nomad alloc exec -t`"),
		}),
		group("ContainerPort", map[string]Field{
			"name": yes("the port's label; dashes become underscores"), "containerPort": yes("`to`, in the host's network `static`"),
			"hostPort": yes("`static`"), "hostIP": decide("use `host_network` with a host_network block of the client", "0.0.0.0", "::"),
			"protocol": yes("Nomad forwards TCP and UDP of every port; SCTP has no equivalent"),
		}),
		group("ResourceRequirements", map[string]Field{
			"requests": yes("`cpu` and `memory`; ephemeral-storage is `ephemeral_disk`"),
			"limits":   yes("`memory_max`; a CPU limit that equals the request is `cpu_hard_limit`"),
			"claims":   no("use a `device` block in the task's resources"),
		}),
		group("Lifecycle", map[string]Field{
			"preStop": yes("`pre_stop`, or `shutdown_delay` for sleep"), "stopSignal": yes("`kill_signal`"),
			"postStart": no("add a task with `lifecycle { hook = \"poststart\" }`"),
		}),
		group("LifecycleHandler", map[string]Field{
			"exec": yes("`pre_stop`"), "sleep": yes("`shutdown_delay`"),
			"httpGet": no("run a program that sends the request in `pre_stop`"), "tcpSocket": no("Kubernetes ignores it too"),
		}),
		group("SleepAction", map[string]Field{"seconds": yes("`shutdown_delay`")}),
		group("ExecAction", map[string]Field{"command": yes("the command")}),
	)
}

func envFields() map[string]Field {
	missing := yes("a missing variable or key is left out")
	return join(
		group("LocalObjectReference", map[string]Field{"name": yes("the ConfigMap or Secret")}),
		group("EnvVar", map[string]Field{"name": yes("`env`"), "value": yes("`env`; $(NAME) is resolved"), "valueFrom": yes("see EnvVarSource")}),
		group("EnvVarSource", map[string]Field{
			"fieldRef": yes("Nomad's variables"), "resourceFieldRef": yes("the number"),
			"configMapKeyRef": yes("the value, or a template with nomadVar if the ConfigMap is in no file"), "secretKeyRef": yes("a template with nomadVar"),
			"fileKeyRef": no("use a template with `env = true`"),
		}),
		group("ObjectFieldSelector", map[string]Field{"fieldPath": yes("Nomad's variables"), "apiVersion": drop("always v1")}),
		group("ResourceFieldSelector", map[string]Field{"containerName": yes("the container"), "resource": yes("the number"), "divisor": yes("the number")}),
		group("ConfigMapKeySelector", map[string]Field{"key": yes("the key"), "optional": missing}),
		group("SecretKeySelector", map[string]Field{"key": yes("the item's name in the variable"), "optional": missing}),
		group("EnvFromSource", map[string]Field{"prefix": yes("of the names"), "configMapRef": yes("`env`"), "secretRef": yes("a template with nomadVar")}),
		group("ConfigMapEnvSource", map[string]Field{"optional": missing}),
		group("SecretEnvSource", map[string]Field{"optional": missing}),
	)
}

func probeFields() map[string]Field {
	return join(
		group("Probe", map[string]Field{
			"initialDelaySeconds":           yes("added to the time limits; `live` begins after `ready`, or gets more failures"),
			"timeoutSeconds":                yes("`timeout` of `live` and of a service's check"),
			"periodSeconds":                 yes("`interval`"),
			"successThreshold":              no("one passing check is enough", "1"),
			"failureThreshold":              yes("times the period: `timeout` of `ready`; `failures` of `live`"),
			"terminationGracePeriodSeconds": yes("of a liveness probe: `kill_timeout` of the config"),
		}),
		group("ProbeHandler", map[string]Field{
			"exec": yes("`exec` of `ready` and `live`"), "httpGet": yes("`http` of `ready` and `live`, or a check of the service"), "tcpSocket": yes("`tcp` of `ready` and `live`, or a check of the service"),
			"grpc": no("use a tcp check, or a program such as grpc_health_probe in `exec`"),
		}),
		group("HTTPGetAction", map[string]Field{
			"path": yes("the path"), "port": yes("the port"), "scheme": yes("http or https"),
			"host": decide("checks are sent to the pod itself"), "httpHeaders": yes("`header` of a service's check; `ready` and `live` have none"),
			"protocol": no("checks use HTTP/1.1"),
		}),
		group("HTTPHeader", map[string]Field{"name": yes("`header`"), "value": yes("`header`")}),
		group("TCPSocketAction", map[string]Field{"port": yes("the port"), "host": decide("checks are sent to the pod itself")}),
	)
}

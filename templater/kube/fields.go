package kube

import "maps"

// Fields returns the table: an entry for each field of the types that are decoded, by type and
// JSON name, such as "Container.livenessProbe". A field below one that is not translated has no
// entry of its own.
func Fields() map[string]Field {
	out := map[string]Field{}
	for _, part := range []map[string]Field{
		metaFields(), workloadFields(), podFields(), placementFields(), securityFields(), containerFields(),
		envFields(), probeFields(), volumeFields(), serviceFields(), dataFields(),
	} {
		maps.Copy(out, part)
	}
	return out
}

func yes(text string) Field { return Field{Fate: Translated, Text: text} }

func drop(text string) Field { return Field{Fate: Dropped, Text: text} }

func no(text string, harmless ...string) Field {
	return Field{Fate: NoEquivalent, Text: text, Harmless: harmless}
}

func decide(text string, harmless ...string) Field {
	return Field{Fate: Decision, Text: text, Harmless: harmless}
}

// group returns the fields of one type.
func group(kind string, fields map[string]Field) map[string]Field {
	out := map[string]Field{}
	for name, f := range fields {
		out[kind+"."+name] = f
	}
	return out
}

func join(parts ...map[string]Field) map[string]Field {
	out := map[string]Field{}
	for _, p := range parts {
		maps.Copy(out, p)
	}
	return out
}

func metaFields() map[string]Field {
	server := drop("the server writes it")
	return join(
		group("TypeMeta", map[string]Field{"kind": yes("the job's type"), "apiVersion": yes("v1, apps/v1 and batch/v1 are read")}),
		group("ObjectMeta", map[string]Field{
			"name":                       yes("the job's name; dots become dashes"),
			"namespace":                  yes("the job's `namespace`, except `default`"),
			"labels":                     yes("`meta` of the job, and of the group for a pod template; selectors of Services use them"),
			"annotations":                no("annotations are instructions for other programs in the cluster; use `meta` or a service's `tags` for a program that reads them"),
			"generateName":               no("a job has a name of its own; set metadata.name"),
			"selfLink":                   server,
			"uid":                        server,
			"resourceVersion":            server,
			"generation":                 server,
			"creationTimestamp":          server,
			"deletionTimestamp":          server,
			"deletionGracePeriodSeconds": server,
			"ownerReferences":            server,
			"finalizers":                 server,
			"managedFields":              server,
		}),
	)
}

func workloadFields() map[string]Field {
	status := drop("the server writes it")
	template := yes("the job's group")
	selector := drop("a job owns the allocations of its own groups")
	history := no("Nomad keeps old versions by its server option job_tracked_versions", "10")
	meta := yes("see ObjectMeta")
	return join(
		group("Pod", map[string]Field{"metadata": meta, "spec": template, "status": status}),
		group("PodTemplateSpec", map[string]Field{"metadata": meta, "spec": template}),
		group("Deployment", map[string]Field{"metadata": meta, "spec": yes("a job of type service"), "status": status}),
		group("DeploymentSpec", map[string]Field{
			"replicas": yes("`count`"), "selector": selector, "template": template,
			"strategy":                yes("`update`"),
			"minReadySeconds":         yes("`update { min_healthy_time }`"),
			"progressDeadlineSeconds": yes("`update { progress_deadline healthy_deadline }`"),
			"revisionHistoryLimit":    history,
			"paused":                  decide("register the job when it may change; Nomad cannot hold back a registered job's update"),
		}),
		group("DeploymentStrategy", map[string]Field{"type": yes("`update`; Recreate stops all allocations of a job together"), "rollingUpdate": yes("`update`")}),
		group("RollingUpdateDeployment", map[string]Field{
			"maxUnavailable": yes("`update { max_parallel }`"),
			"maxSurge":       yes("`update { canary auto_promote }` if no pod may be unavailable"),
		}),
		group("StatefulSet", map[string]Field{"metadata": meta, "spec": yes("a job of type service; the hostname ends in the allocation's index"), "status": status}),
		group("StatefulSetSpec", map[string]Field{
			"replicas": yes("`count`"), "selector": selector, "template": template,
			"volumeClaimTemplates":                 yes("`volume { per_alloc = true }`"),
			"serviceName":                          decide("Nomad has no DNS name for each allocation; the services that select the pods register one address per allocation, in no order"),
			"podManagementPolicy":                  yes("Parallel is how Nomad starts allocations; OrderedReady has no equivalent"),
			"updateStrategy":                       yes("`update { max_parallel }`"),
			"revisionHistoryLimit":                 history,
			"minReadySeconds":                      yes("`update { min_healthy_time }`"),
			"persistentVolumeClaimRetentionPolicy": no("Nomad never deletes a volume automatically"),
			"ordinals":                             no("allocation indexes begin at 0"),
		}),
		group("StatefulSetUpdateStrategy", map[string]Field{"type": yes("OnDelete has no equivalent"), "rollingUpdate": yes("`update`")}),
		group("RollingUpdateStatefulSetStrategy", map[string]Field{
			"partition":      no("use `update { canary }`, and promote when the canaries are well", "0"),
			"maxUnavailable": yes("`update { max_parallel }`"),
		}),
		group("DaemonSet", map[string]Field{"metadata": meta, "spec": yes("a job of type system"), "status": status}),
		group("DaemonSetSpec", map[string]Field{
			"selector": selector, "template": template, "updateStrategy": yes("`update { max_parallel }`"),
			"minReadySeconds":      yes("`update { min_healthy_time }`"),
			"revisionHistoryLimit": history,
		}),
		group("DaemonSetUpdateStrategy", map[string]Field{"type": yes("OnDelete has no equivalent"), "rollingUpdate": yes("`update`")}),
		group("RollingUpdateDaemonSet", map[string]Field{
			"maxUnavailable": yes("`update { max_parallel }`"),
			"maxSurge":       no("a system job stops a node's allocation before it starts the next one", "0"),
		}),
		jobFields(meta, template, selector, status),
	)
}

func jobFields(meta, template, selector, status Field) map[string]Field {
	return join(
		group("Job", map[string]Field{"metadata": meta, "spec": yes("a job of type batch"), "status": status}),
		group("JobTemplateSpec", map[string]Field{"metadata": meta, "spec": yes("a job of type batch")}),
		group("JobSpec", map[string]Field{
			"template": template, "selector": selector, "manualSelector": selector,
			"completions":             yes("`count`"),
			"parallelism":             yes("`count` if completions is not set; Nomad runs all allocations of a batch job together"),
			"backoffLimit":            yes("`restart { attempts }`, or `reschedule { attempts }` with restartPolicy: Never"),
			"completionMode":          yes("Indexed: JOB_COMPLETION_INDEX is NOMAD_ALLOC_INDEX"),
			"suspend":                 decide("register the job when it is to run", "false"),
			"activeDeadlineSeconds":   no("Nomad 1.11 has no limit for the time that a job runs"),
			"ttlSecondsAfterFinished": no("Nomad removes dead jobs by its server option job_gc_threshold"),
			"podFailurePolicy":        no("Nomad treats all exit codes but 0 alike"),
			"successPolicy":           no("a batch job is complete when all its allocations are"),
			"backoffLimitPerIndex":    no("`restart` and `reschedule` count for each allocation"),
			"maxFailedIndexes":        no("Nomad does not end a job because some allocations failed"),
			"podReplacementPolicy":    no("Nomad replaces an allocation when it has failed"),
			"managedBy":               no("Nomad has no other controllers for jobs"),
			"scheduling":              no("Nomad places allocations one by one"),
		}),
		group("CronJob", map[string]Field{"metadata": meta, "spec": yes("`periodic`"), "status": status}),
		group("CronJobSpec", map[string]Field{
			"schedule": yes("`periodic { crons }`"), "timeZone": yes("`periodic { time_zone }`"),
			"suspend":                    yes("`periodic { enabled = false }`"),
			"concurrencyPolicy":          yes("`periodic { prohibit_overlap }`; Replace has no equivalent"),
			"jobTemplate":                yes("the job"),
			"startingDeadlineSeconds":    no("Nomad starts a missed run once when a leader is elected again"),
			"successfulJobsHistoryLimit": no("Nomad removes dead jobs by its server option job_gc_threshold", "3"),
			"failedJobsHistoryLimit":     no("Nomad removes dead jobs by its server option job_gc_threshold", "1"),
		}),
	)
}

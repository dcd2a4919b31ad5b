package kube

import (
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Types of a job.
const (
	service = "service"
	batch   = "batch"
	system  = "system"
)

// podJob is a job made of an object with a pod template.
type podJob struct {
	im   *importer
	of   *object
	name string
	base string // path of the pod template: "", "spec.template." or "spec.jobTemplate.spec.template."

	labels map[string]string // of the object
	meta   *metav1.ObjectMeta
	spec   *corev1.PodSpec
	kind   string // of the job
	count  int32  // 0 for a system job
	claims []corev1.PersistentVolumeClaim
	stable bool // the pods have names that end in their index

	header, update, restart, periodic []*block // of the job and the group
	index                             bool     // the tasks get JOB_COMPLETION_INDEX
	ports                             []*port
	services                          []*registered
	volumes                           map[string]*block // of the group, by claim
	volumeOrder                       []string
	disks                             []string // volumes in /alloc
	diskMB                            int64
	vars                              variables
	containers                        []*container
	canary                            bool
}

// jobs makes a job of each workload.
func (im *importer) jobs() []*podJob {
	var out []*podJob
	for _, o := range im.objects {
		j := &podJob{im: im, of: o, name: strings.ReplaceAll(o.name, ".", "-"), kind: service, count: 1, base: "spec.template.", volumes: map[string]*block{}}
		switch w := o.value.(type) {
		case *corev1.Pod:
			j.base, j.meta, j.spec, j.labels = "", &w.ObjectMeta, &w.Spec, nil
			j.pod()
		case *appsv1.Deployment:
			j.labels, j.meta, j.spec = w.Labels, &w.Spec.Template.ObjectMeta, &w.Spec.Template.Spec
			j.deployment(w)
		case *appsv1.StatefulSet:
			j.labels, j.meta, j.spec = w.Labels, &w.Spec.Template.ObjectMeta, &w.Spec.Template.Spec
			j.statefulSet(w)
		case *appsv1.DaemonSet:
			j.labels, j.meta, j.spec = w.Labels, &w.Spec.Template.ObjectMeta, &w.Spec.Template.Spec
			j.daemonSet(w)
		case *batchv1.Job:
			j.labels, j.meta, j.spec = w.Labels, &w.Spec.Template.ObjectMeta, &w.Spec.Template.Spec
			j.batch(&w.Spec, "spec.")
		case *batchv1.CronJob:
			t := &w.Spec.JobTemplate.Spec
			j.base = "spec.jobTemplate.spec.template."
			j.labels, j.meta, j.spec = maps.Clone(w.Labels), &t.Template.ObjectMeta, &t.Template.Spec
			if j.labels == nil {
				j.labels = map[string]string{}
			}
			maps.Copy(j.labels, w.Spec.JobTemplate.Labels)
			j.batch(t, "spec.jobTemplate.spec.")
			j.cron(w)
		default:
			continue
		}
		o.used = true
		j.translate()
		out = append(out, j)
	}
	return out
}

// find records a part of the workload that the job lacks.
func (j *podJob) find(path string, fate Fate, format string, args ...any) {
	j.im.find(j.of, path, fate, format, args...)
}

// at returns the path of a field of the pod's spec.
func (j *podJob) at(path string) string { return j.base + "spec." + path }

// always is the restart block of pods that Kubernetes restarts without end, and at most every five
// minutes if they fail.
func always() *block {
	b := &block{kind: "restart"}
	b.number("attempts", 3)
	b.text("interval", "5m")
	b.text("delay", "15s")
	b.text("mode", "delay")
	return b
}

// limited is the restart block of pods that Kubernetes restarts so many times.
func limited(attempts int32) *block {
	b := &block{kind: "restart"}
	b.number("attempts", int64(attempts))
	if attempts > 0 {
		b.text("interval", "24h")
		b.text("delay", "10s")
	}
	b.text("mode", "fail")
	return b
}

// reschedules is the reschedule block of pods that Kubernetes replaces so many times.
func reschedules(attempts int32) *block {
	b := &block{kind: "reschedule"}
	b.number("attempts", int64(attempts))
	if attempts > 0 {
		b.text("interval", "24h")
		b.text("delay", "10s")
		b.text("delay_function", "exponential")
		b.text("max_delay", "6m")
	}
	b.attr("unlimited", "false")
	return b
}

func (j *podJob) pod() {
	switch j.spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		j.kind, j.restart = batch, []*block{limited(0), reschedules(0)}
	case corev1.RestartPolicyOnFailure:
		j.kind, j.restart = batch, []*block{always(), reschedules(0)}
	default:
		j.restart = []*block{always()}
	}
}

func (j *podJob) deployment(d *appsv1.Deployment) {
	j.restart = []*block{always()}
	if d.Spec.Replicas != nil {
		j.count = *d.Spec.Replicas
	}
	b := &block{kind: "update"}
	switch d.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		b.number("max_parallel", int64(max(j.count, 1)))
	case appsv1.RollingUpdateDeploymentStrategyType, "":
		unavailable, surge := intstr.FromString("25%"), intstr.FromString("25%")
		if r := d.Spec.Strategy.RollingUpdate; r != nil {
			unavailable, surge = or(r.MaxUnavailable, unavailable), or(r.MaxSurge, surge)
		}
		n := j.scaled(unavailable, false, "spec.strategy.rollingUpdate.maxUnavailable")
		if n > 0 {
			b.number("max_parallel", int64(n))
			break
		}
		n = max(j.scaled(surge, true, "spec.strategy.rollingUpdate.maxSurge"), 1)
		j.canary = true
		b.number("max_parallel", int64(n))
		b.number("canary", int64(n))
		b.flag("auto_promote")
	default:
		j.im.wrong(j.of, "spec.strategy.type", "want RollingUpdate or Recreate.")
	}
	if p := d.Spec.ProgressDeadlineSeconds; p != nil && *p <= d.Spec.MinReadySeconds+1 {
		j.im.wrong(j.of, "spec.progressDeadlineSeconds", "it must be greater than minReadySeconds.")
	}
	deadlines(b, d.Spec.MinReadySeconds, d.Spec.ProgressDeadlineSeconds)
	j.update = []*block{b}
}

func or[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}

// scaled returns a number of pods, or a percentage of them.
func (j *podJob) scaled(v intstr.IntOrString, up bool, path string) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, int(j.count), up)
	if err != nil || n < 0 {
		j.im.wrong(j.of, path, "want a number or a percentage.")
	}
	return int32(n)
}

// Defaults of Nomad's update block, in seconds. Kubernetes has the same progress deadline.
const (
	defaultMinHealthy = 10
	defaultHealthy    = 300
	defaultProgress   = 600
)

// deadlines adds the times of an update. Nomad wants each of them to be less than the next.
func deadlines(b *block, minReady int32, progress *int32) {
	healthy, total := int64(defaultHealthy), int64(or(progress, defaultProgress))
	ready := int64(max(minReady, 0))
	if ready >= healthy {
		healthy = ready + 60
	}
	if healthy >= total && progress != nil {
		healthy = total - 1
	} else if healthy >= total {
		total = healthy + defaultHealthy
	}
	if ready > 0 || healthy <= defaultMinHealthy {
		b.text("min_healthy_time", seconds(ready))
	}
	if healthy != defaultHealthy {
		b.text("healthy_deadline", seconds(healthy))
	}
	if total != defaultProgress {
		b.text("progress_deadline", seconds(total))
	}
}

func (j *podJob) statefulSet(s *appsv1.StatefulSet) {
	j.restart, j.stable, j.claims = []*block{always()}, true, s.Spec.VolumeClaimTemplates
	if s.Spec.Replicas != nil {
		j.count = *s.Spec.Replicas
	}
	if s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement && j.count > 1 {
		j.find("spec.podManagementPolicy", NoEquivalent, "OrderedReady, the default: Nomad starts all allocations together; let the program wait for its peers")
	}
	b := &block{kind: "update"}
	n := int32(1)
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		j.find("spec.updateStrategy.type", NoEquivalent, "OnDelete: Nomad updates allocations when the job is registered")
	} else if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil && r.MaxUnavailable != nil {
		n = max(1, j.scaled(*r.MaxUnavailable, false, "spec.updateStrategy.rollingUpdate.maxUnavailable"))
	}
	b.number("max_parallel", int64(n))
	deadlines(b, s.Spec.MinReadySeconds, nil)
	j.update = []*block{b}
}

func (j *podJob) daemonSet(d *appsv1.DaemonSet) {
	j.kind, j.count, j.restart = system, 0, []*block{always()}
	b := &block{kind: "update"}
	n := int64(1)
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		j.find("spec.updateStrategy.type", NoEquivalent, "OnDelete: Nomad updates allocations when the job is registered")
	} else if r := d.Spec.UpdateStrategy.RollingUpdate; r != nil && r.MaxUnavailable != nil {
		if r.MaxUnavailable.Type == intstr.String {
			j.find("spec.updateStrategy.rollingUpdate.maxUnavailable", Decision, "`max_parallel` is a number of clients, not a percentage; it is 1 here")
		} else {
			n = int64(max(1, r.MaxUnavailable.IntVal))
		}
	}
	b.number("max_parallel", n)
	deadlines(b, d.Spec.MinReadySeconds, nil)
	j.update = []*block{b}
}

// batch sets up a job of type batch.
func (j *podJob) batch(s *batchv1.JobSpec, path string) {
	j.kind = batch
	parallel := or(s.Parallelism, 1)
	j.count = or(s.Completions, parallel)
	if s.Completions != nil && parallel < *s.Completions {
		j.find(path+"parallelism", NoEquivalent, "Nomad runs all %d allocations of the job together", *s.Completions)
	}
	if s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion {
		j.index, j.stable = true, true
	}
	limit := or(s.BackoffLimit, 6)
	if j.spec.RestartPolicy == corev1.RestartPolicyNever {
		j.restart = []*block{limited(0), reschedules(limit)}
	} else {
		j.restart = []*block{limited(limit), reschedules(0)}
	}
}

func (j *podJob) cron(c *batchv1.CronJob) {
	b := &block{kind: "periodic"}
	b.texts("crons", []string{c.Spec.Schedule})
	if z := c.Spec.TimeZone; z != nil {
		b.text("time_zone", *z)
	}
	switch c.Spec.ConcurrencyPolicy {
	case batchv1.ForbidConcurrent:
		b.flag("prohibit_overlap")
	case batchv1.ReplaceConcurrent:
		b.flag("prohibit_overlap")
		j.find("spec.concurrencyPolicy", NoEquivalent, "Replace: Nomad does not stop a run for the next one; with `prohibit_overlap` it skips the next one")
	case batchv1.AllowConcurrent, "":
	default:
		j.im.wrong(j.of, "spec.concurrencyPolicy", "want Allow, Forbid or Replace.")
	}
	if or(c.Spec.Suspend, false) {
		b.attr("enabled", "false")
	}
	j.periodic = []*block{b}
}

// seconds returns a duration as Nomad reads it.
func seconds(n int64) string {
	switch {
	case n > 0 && n%3600 == 0:
		return fmt.Sprintf("%dh", n/3600)
	case n > 0 && n%60 == 0:
		return fmt.Sprintf("%dm", n/60)
	}
	return fmt.Sprintf("%ds", n)
}

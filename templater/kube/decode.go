package kube

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
)

// empty returns a value to decode an object into, nil for a kind that is not read.
func empty(apiVersion, kind string) any {
	switch apiVersion + "/" + kind {
	case "v1/Pod":
		return &corev1.Pod{}
	case "apps/v1/Deployment":
		return &appsv1.Deployment{}
	case "apps/v1/StatefulSet":
		return &appsv1.StatefulSet{}
	case "apps/v1/DaemonSet":
		return &appsv1.DaemonSet{}
	case "batch/v1/Job":
		return &batchv1.Job{}
	case "batch/v1/CronJob":
		return &batchv1.CronJob{}
	case "v1/Service":
		return &corev1.Service{}
	case "v1/ConfigMap":
		return &corev1.ConfigMap{}
	case "v1/Secret":
		return &corev1.Secret{}
	case "v1/PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}
	}
	return nil
}

// objectName is the form of names in Kubernetes (RFC 1123 subdomain).
var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// wrongType matches an error of the decoder. Its path has no indexes.
var wrongType = regexp.MustCompile(`cannot unmarshal (.+) into Go struct field \w+\.(\S+) of type (\S+)`)

// decode reads an object into its type. A field that the type does not have becomes a finding.
func (im *importer) decode(o *object) {
	if !objectName.MatchString(o.name) {
		im.diags = append(im.diags, problem(o.position("metadata.name"), "Invalid name", "metadata.name of document %d must be set, and have lower case letters, digits, dashes and dots.", o.number))
		return
	}
	if o.namespace != "" && (!objectName.MatchString(o.namespace) || strings.Contains(o.namespace, ".")) {
		im.diags = append(im.diags, problem(o.position("metadata.namespace"), "Invalid namespace", "metadata.namespace must have lower case letters, digits and dashes."))
		return
	}
	o.value = empty(o.apiVersion, o.kind)
	im.objects = append(im.objects, o)
	if o.value == nil {
		im.find(o, "", NoEquivalent, "%s", otherKind(o))
		return
	}
	unknown, err := kjson.UnmarshalStrict(o.raw, o.value)
	if err != nil {
		path, text := "", err.Error()
		if m := wrongType.FindStringSubmatch(text); m != nil {
			path, text = m[2], fmt.Sprintf("%s: want %s, not %s; quote a text that looks like a number or a boolean", m[2], m[3], m[1])
		}
		im.diags = append(im.diags, problem(o.position(path), "Invalid manifest", "Document %d, %s: %s.", o.number, o, text))
		return
	}
	for _, e := range unknown {
		var field kjson.FieldError
		path := ""
		if errors.As(e, &field) {
			path = field.FieldPath()
		}
		im.find(o, path, NoEquivalent, "Kubernetes has no field of this name, or it is newer than this program; check the spelling and the indentation")
	}
}

// otherKind explains a kind that is not read.
func otherKind(o *object) string {
	switch o.kind {
	case "Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Service", "ConfigMap", "Secret", "PersistentVolumeClaim":
		return "apiVersion " + o.apiVersion + " is not read; convert the object to v1, apps/v1 or batch/v1"
	case "Ingress", "Gateway", "HTTPRoute":
		return "Nomad has no load balancer; run one as a job, with the services as its backends, or inject the tls-proxy sidecar"
	case "HorizontalPodAutoscaler":
		return "use a `scaling` block and the Nomad Autoscaler"
	case "NetworkPolicy":
		return "use a CNI network, or Consul service mesh with intentions"
	case "PodDisruptionBudget":
		return "use `migrate { max_parallel }` in the group"
	case "PersistentVolume", "StorageClass":
		return "create a host or CSI volume with `nomad volume create`"
	case "Namespace":
		return "create it with `nomad namespace apply`"
	case "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
		return "there is no Kubernetes API to protect; for Nomad's API, write an ACL policy for the job's workload identity"
	case "ReplicaSet", "ReplicationController":
		return "write it as a Deployment"
	}
	return "this kind is not imported"
}

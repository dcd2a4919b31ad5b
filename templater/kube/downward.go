package kube

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// keyed matches metadata.labels['app'] and metadata.annotations['app'].
var keyed = regexp.MustCompile(`^metadata\.(labels|annotations)\['([^']*)'\]$`)

// podName returns the name of the pod: stable with an index, else unique.
func (j *podJob) podName() value {
	if j.stable {
		return value{{literal: j.name + "-"}, {nomad: "NOMAD_ALLOC_INDEX"}}
	}
	return value{{literal: j.name + "-"}, {nomad: "NOMAD_SHORT_ALLOC_ID"}}
}

// fieldRef returns the value of a field of the pod. It returns false if there is none.
func (c *container) fieldRef(field string, ref *corev1.ObjectFieldSelector) (value, bool) {
	j := c.j
	one := func(name string) (value, bool) { return value{{nomad: name}}, true }
	if m := keyed.FindStringSubmatch(ref.FieldPath); m != nil {
		if m[1] == "labels" {
			return literal(j.meta.Labels[m[2]]), true
		}
		return literal(j.meta.Annotations[m[2]]), true
	}
	switch ref.FieldPath {
	case "metadata.name":
		return j.podName(), true
	case "metadata.namespace":
		return one("NOMAD_NAMESPACE")
	case "metadata.uid":
		return one("NOMAD_ALLOC_ID")
	case "spec.nodeName":
		return one("node.unique.name")
	case "status.hostIP", "status.hostIPs":
		return one("attr.unique.network.ip-address")
	case "status.podIP", "status.podIPs":
		if j.spec.HostNetwork {
			return one("attr.unique.network.ip-address")
		}
		if len(j.ports) > 0 {
			return one("NOMAD_ALLOC_IP_" + j.ports[0].label)
		}
		c.find(field, NoEquivalent, "Nomad gives the address of an allocation only to groups with a port; give a container a port")
		return nil, false
	}
	c.find(field, NoEquivalent, "Nomad has no variable for %s", ref.FieldPath)
	return nil, false
}

// mapFile returns the content of a file with all labels or annotations.
func mapFile(m map[string]string) string {
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&out, "%s=%q\n", key, m[key])
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// resourceRef returns a request or limit of a container as a number of its divisor, rounded up.
func (c *container) resourceRef(field string, ref *corev1.ResourceFieldSelector) (value, bool) {
	of := c
	if ref.ContainerName != "" {
		i := slices.IndexFunc(c.j.containers, func(o *container) bool { return o.Name == ref.ContainerName })
		if i < 0 {
			c.wrong(field+".containerName", "there is no container %q.", ref.ContainerName)
			return nil, false
		}
		of = c.j.containers[i]
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	limits, requests := of.Resources.Limits, of.Resources.Requests
	q, ok := limits[corev1.ResourceName(name)]
	if kind == "requests" {
		if r, has := requests[corev1.ResourceName(name)]; has {
			q, ok = r, true
		}
	}
	if !ok || kind != "limits" && kind != "requests" {
		c.find(field, NoEquivalent, "the container has no %s; in Kubernetes the node's capacity stands in", ref.Resource)
		return nil, false
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	n := q.MilliValue()
	d := divisor.MilliValue()
	if name == string(corev1.ResourceCPU) {
		return literal(fmt.Sprint((n + d - 1) / d)), true
	}
	return literal(fmt.Sprint((q.Value() + divisor.Value() - 1) / max(divisor.Value(), 1))), true
}

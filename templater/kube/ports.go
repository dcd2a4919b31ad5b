package kube

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// port is a port of the group.
type port struct {
	label      string
	to, static int32
	path       string // of the field that asks for the static port
}

// registered is a service of the group.
type registered struct {
	block  *block
	number int32 // of the port in the pod
	checks int
}

// portOf returns the port of a number, which it adds if needed. The same number for TCP and UDP is
// one port: Nomad forwards both.
func (j *podJob) portOf(number int32, name string) *port {
	for _, p := range j.ports {
		if p.to == number {
			return p
		}
	}
	label := fmt.Sprintf("p%d", number)
	if name != "" {
		label = clean(name)
	}
	if slices.ContainsFunc(j.ports, func(p *port) bool { return p.label == label }) {
		label = fmt.Sprintf("%s_%d", label, number)
	}
	p := &port{label: label, to: number}
	if j.spec.HostNetwork {
		p.static = number
	}
	j.ports = append(j.ports, p)
	return p
}

func validPort(n int32) bool { return n > 0 && n < 1<<16 }

func (j *podJob) collectPorts() {
	for _, c := range j.containers {
		for i, cp := range c.Ports {
			path := fmt.Sprintf("%s.ports[%d]", c.path, i)
			if !validPort(cp.ContainerPort) || cp.HostPort != 0 && !validPort(cp.HostPort) {
				j.im.wrong(j.of, path, "ports are numbers from 1 to 65535.")
				continue
			}
			p := j.portOf(cp.ContainerPort, cp.Name)
			if cp.Protocol == corev1.ProtocolSCTP {
				j.find(path+".protocol", NoEquivalent, "Nomad forwards TCP and UDP only")
			}
			if cp.HostPort == 0 {
				continue
			}
			if p.static != 0 && p.static != cp.HostPort {
				j.find(path+".hostPort", Decision, "port %d of the pod has one port of the host in Nomad, %d", p.to, p.static)
				continue
			}
			p.static, p.path = cp.HostPort, path+".hostPort"
		}
	}
}

// register adds services for the Services that select the pods.
func (j *podJob) register() {
	for _, o := range j.im.objects {
		s, ok := o.value.(*corev1.Service)
		if !ok || o.ns() != j.of.ns() || len(s.Spec.Selector) == 0 || !selects(s.Spec.Selector, j.meta.Labels) {
			continue
		}
		o.used = true
		j.owns(o)
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			j.findIn(o, "spec.type", Decision, "LoadBalancer: Nomad has none; put one in front of the service, or give the port a `static` number")
		}
		for i := range s.Spec.Ports {
			j.registerPort(o, s, i)
		}
	}
}

func selects(selector, labels map[string]string) bool {
	for key, v := range selector {
		if got, ok := labels[key]; !ok || got != v {
			return false
		}
	}
	return true
}

func (j *podJob) registerPort(o *object, s *corev1.Service, i int) {
	sp := s.Spec.Ports[i]
	path := fmt.Sprintf("spec.ports[%d]", i)
	number := j.target(sp)
	if !validPort(number) {
		j.findIn(o, path+".targetPort", Decision, "no container of %s names this port; the service is left out", j.of)
		return
	}
	if sp.Protocol == corev1.ProtocolSCTP {
		j.findIn(o, path+".protocol", NoEquivalent, "Nomad forwards TCP and UDP only")
	}
	p := j.portOf(number, sp.Name)
	if sp.NodePort != 0 && s.Spec.Type == corev1.ServiceTypeNodePort {
		if p.static != 0 && p.static != sp.NodePort || !validPort(sp.NodePort) {
			j.findIn(o, path+".nodePort", Decision, "port %d of the pod has one port of the host in Nomad, %d", p.to, p.static)
		} else {
			p.static, p.path = sp.NodePort, j.at("containers")
		}
	}
	name := s.Name
	if i > 0 {
		name += "-" + p.label
		if sp.Name != "" {
			name = s.Name + "-" + sp.Name
		}
	}
	if slices.ContainsFunc(j.services, func(r *registered) bool { return r.block.items[0].expression == quote(name) && r.number == number }) {
		return // the other protocol of a port
	}
	b := &block{kind: "service"}
	b.text("name", name)
	b.text("port", p.label)
	b.text("provider", "nomad")
	j.services = append(j.services, &registered{block: b, number: number})
}

// target returns the number of a service's port in the pod, 0 if no container has it.
func (j *podJob) target(sp corev1.ServicePort) int32 {
	if sp.TargetPort.Type == intstr.String {
		return j.named(sp.TargetPort.StrVal)
	}
	if sp.TargetPort.IntVal == 0 {
		return sp.Port
	}
	return sp.TargetPort.IntVal
}

// named returns the number of a named port, 0 if no container has it.
func (j *podJob) named(name string) int32 {
	for _, c := range j.containers {
		for _, cp := range c.Ports {
			if cp.Name == name {
				return cp.ContainerPort
			}
		}
	}
	return 0
}

// owns makes the findings of another object comments of this job, unless another job has them.
func (j *podJob) owns(o *object) {
	for i := range j.im.findings {
		if f := &j.im.findings[i]; f.of == o && f.job == nil {
			f.job = j
		}
	}
}

// findIn records a finding of another object as a comment of this job.
func (j *podJob) findIn(o *object, path string, fate Fate, format string, args ...any) {
	j.im.find(o, path, fate, format, args...)
	j.owns(o)
}

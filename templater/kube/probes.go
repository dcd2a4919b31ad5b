package kube

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probes adds ready to the config, and checks to the services of the group.
func (c *container) probes(b *block) {
	if p := c.StartupProbe; p != nil {
		c.ready(b, "startupProbe", p)
	}
	if p := c.ReadinessProbe; p != nil {
		c.readiness(b, p)
	}
	if p := c.LivenessProbe; p != nil {
		c.liveness(p)
	}
}

// probePort returns the number of a probe's port, 0 if it is invalid, which it reports.
func (c *container) probePort(field string, p intstr.IntOrString) int32 {
	n := p.IntVal
	if p.Type == intstr.String {
		n = 0
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				n = cp.ContainerPort
			}
		}
	}
	if !validPort(n) {
		c.wrong(field, "want the name or number of a port of the container.")
		return 0
	}
	return n
}

// ready adds a ready block. It returns false if the probe has no action for it.
func (c *container) ready(b *block, field string, p *corev1.Probe) {
	r := &block{kind: "ready", config: true}
	switch {
	case p.Exec != nil:
		var command []string
		for _, a := range p.Exec.Command {
			command = append(command, literal(a).config())
		}
		if len(command) == 0 {
			c.wrong(field+".exec.command", "the command is empty.")
			return
		}
		r.attr("exec", list(command))
	case p.HTTPGet != nil:
		port := c.probePort(field+".httpGet.port", p.HTTPGet.Port)
		c.headers(field, p.HTTPGet)
		if p.HTTPGet.Scheme == corev1.URISchemeHTTPS {
			c.find(field+".httpGet.scheme", Decision, "Kubernetes does not check the certificate and `ready` would, so that it connects only")
			r.text("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			break
		}
		u := url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), Opaque: ""}
		r.text("http", u.String()+pathOf(p.HTTPGet.Path))
	case p.TCPSocket != nil:
		r.text("tcp", fmt.Sprintf("127.0.0.1:%d", c.probePort(field+".tcpSocket.port", p.TCPSocket.Port)))
	default:
		return
	}
	period := int64(p.PeriodSeconds)
	if period <= 0 {
		period = 10
	}
	failures := int64(p.FailureThreshold)
	if failures <= 0 {
		failures = 3
	}
	r.text("interval", seconds(period))
	r.text("timeout", seconds(int64(p.InitialDelaySeconds)+period*failures))
	b.add(r)
}

func pathOf(p string) string {
	if !strings.HasPrefix(p, "/") {
		return "/" + p
	}
	return p
}

// headers reports headers, which only checks of services can send.
func (c *container) headers(field string, g *corev1.HTTPGetAction) {
	if len(g.HTTPHeaders) > 0 {
		c.find(field+".httpGet.httpHeaders", NoEquivalent, "only a check of a service can send headers")
	}
}

// readiness adds a check of the service with the probe's port. Without one, Nomad has no place for
// the state of a running task, and the probe runs at the start only.
func (c *container) readiness(b *block, p *corev1.Probe) {
	if number := c.networkPort("readinessProbe", p); number != 0 {
		if s := c.j.serviceOf(number); s != nil {
			c.check(s, "readinessProbe", p, number)
			return
		}
	}
	if c.StartupProbe != nil || p.GRPC != nil {
		if p.GRPC == nil {
			c.find("readinessProbe", NoEquivalent, "no Service has the pod, so that only the start-up probe applies")
		}
		return
	}
	c.find("readinessProbe", Decision, "it runs at the start only, and the task fails if it does not pass in time: checks of Nomad's services are http and tcp, of a port of a Service")
	c.ready(b, "readinessProbe", p)
}

// networkPort returns the port of an http or tcp probe, else 0.
func (c *container) networkPort(field string, p *corev1.Probe) int32 {
	switch {
	case p.HTTPGet != nil:
		return c.probePort(field+".httpGet.port", p.HTTPGet.Port)
	case p.TCPSocket != nil:
		return c.probePort(field+".tcpSocket.port", p.TCPSocket.Port)
	}
	return 0
}

// serviceOf returns the service of a port, else the first one, nil if there is none.
func (j *podJob) serviceOf(number int32) *registered {
	i := slices.IndexFunc(j.services, func(r *registered) bool { return r.number == number })
	switch {
	case i >= 0:
		return j.services[i]
	case len(j.services) > 0:
		return j.services[0]
	}
	return nil
}

// check adds a check to a service and returns it.
func (c *container) check(s *registered, field string, p *corev1.Probe, number int32) *block {
	b := s.block.child("check")
	b.text("name", c.Name+" "+strings.TrimSuffix(field, "Probe"))
	g := p.HTTPGet
	if g != nil {
		b.text("type", "http")
		b.text("path", pathOf(g.Path))
		if g.Scheme == corev1.URISchemeHTTPS {
			b.text("protocol", "https")
			b.flag("tls_skip_verify")
		}
	} else {
		b.text("type", "tcp")
	}
	if s.number != number {
		b.text("port", c.j.portOf(number, "").label)
	}
	interval, timeout := p.PeriodSeconds, p.TimeoutSeconds
	if interval <= 0 {
		interval = 10
	}
	if timeout <= 0 {
		timeout = 1
	}
	b.text("interval", seconds(int64(interval)))
	b.text("timeout", seconds(int64(timeout)))
	if g != nil && len(g.HTTPHeaders) > 0 {
		var headers []pair
		for _, h := range g.HTTPHeaders {
			headers = append(headers, pair{h.Name, list([]string{quote(h.Value)})})
		}
		b.pairs("header", headers)
	}
	s.checks++
	return b
}

// liveness adds a check that restarts the task.
func (c *container) liveness(p *corev1.Probe) {
	number := c.networkPort("livenessProbe", p)
	s := c.j.serviceOf(number)
	if p.GRPC != nil {
		return // reported as a field
	}
	if number == 0 || s == nil {
		c.find("livenessProbe", NoEquivalent, "Nomad restarts a task by http and tcp checks of a service only, and no Service has this one")
		return
	}
	b := c.check(s, "livenessProbe", p, number)
	b.text("task", c.Name) // without it all tasks restart
	r := b.child("check_restart")
	failures := p.FailureThreshold
	if failures <= 0 {
		failures = 3
	}
	r.number("limit", int64(failures))
	if p.InitialDelaySeconds > 0 {
		r.text("grace", seconds(int64(p.InitialDelaySeconds)))
	}
}

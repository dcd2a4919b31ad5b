package kube

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probes translates the probes: to ready and live of the config, and to checks of the services of
// the group.
func (c *container) probes() {
	for field, p := range map[string]*corev1.Probe{"startupProbe": c.StartupProbe, "readinessProbe": c.ReadinessProbe} {
		if p != nil && p.TerminationGracePeriodSeconds != nil {
			c.find(field+".terminationGracePeriodSeconds", NoEquivalent, "the task's `kill_timeout` applies")
		}
	}
	if p := c.StartupProbe; p != nil {
		c.setReady("startupProbe", p)
	}
	if p := c.ReadinessProbe; p != nil {
		c.readiness(p)
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

// longest is the number of seconds that a duration can have.
const longest = int64(math.MaxInt64 / time.Second)

// setReady makes the ready block, if the probe has an action for it.
func (c *container) setReady(field string, p *corev1.Probe) {
	r := &block{kind: "ready", config: true}
	if !c.action(r, field, p) {
		return
	}
	period := orDefault(p.PeriodSeconds, 10)
	failures := orDefault(p.FailureThreshold, 3)
	r.text("interval", seconds(period))
	r.text("timeout", seconds(min(int64(p.InitialDelaySeconds)+period*failures, longest)))
	c.ready = r
}

// action adds the action of a probe to a ready or live block. It returns false if the probe has
// none for it.
func (c *container) action(b *block, field string, p *corev1.Probe) bool {
	switch {
	case p.Exec != nil:
		var command []string
		for _, a := range p.Exec.Command {
			command = append(command, literal(a).config())
		}
		if len(command) == 0 {
			c.wrong(field+".exec.command", "the command is empty.")
			return false
		}
		b.attr("exec", list(command))
	case p.HTTPGet != nil:
		port := c.probePort(field+".httpGet.port", p.HTTPGet.Port)
		address := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
		if len(p.HTTPGet.HTTPHeaders) > 0 {
			c.find(field+".httpGet.httpHeaders", NoEquivalent, "only a check of a service can send headers")
		}
		if p.HTTPGet.Scheme == corev1.URISchemeHTTPS {
			c.find(field+".httpGet.scheme", Decision, "Kubernetes does not check the certificate and `%s` would, so that it connects only", b.kind)
			b.text("tcp", address)
			break
		}
		b.text("http", urlOf(address, p.HTTPGet.Path))
	case p.TCPSocket != nil:
		b.text("tcp", fmt.Sprintf("127.0.0.1:%d", c.probePort(field+".tcpSocket.port", p.TCPSocket.Port)))
	default:
		return false
	}
	return true
}

// orDefault returns a number of a probe, or Kubernetes' default.
func orDefault(n int32, or int64) int64 {
	if n <= 0 {
		return or
	}
	return int64(n)
}

// urlOf returns the URL of a path, which may be any text.
func urlOf(address, path string) string {
	text := "http://" + address + pathOf(path)
	if _, err := url.Parse(text); err != nil {
		u := url.URL{Scheme: "http", Host: address, Path: pathOf(path)}
		return u.String()
	}
	return text
}

func pathOf(p string) string {
	if !strings.HasPrefix(p, "/") {
		return "/" + p
	}
	return p
}

// readiness adds a check of the service with the probe's port. Without one, Nomad has no place for
// the state of a running task, and the probe runs at the start only.
func (c *container) readiness(p *corev1.Probe) {
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
	c.setReady("readinessProbe", p)
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
	b.text("interval", seconds(orDefault(p.PeriodSeconds, 10)))
	b.text("timeout", seconds(orDefault(p.TimeoutSeconds, 1)))
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

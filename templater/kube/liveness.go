package kube

import corev1 "k8s.io/api/core/v1"

// liveness translates the liveness probe: to a live block of the config, or to a check of a service
// that restarts the task if only such a check can do the same.
func (c *container) liveness(p *corev1.Probe) {
	if g := p.HTTPGet; g != nil && (g.Scheme == corev1.URISchemeHTTPS || len(g.HTTPHeaders) > 0) {
		number := c.probePort("livenessProbe.httpGet.port", g.Port)
		if number == 0 {
			return
		}
		if s := c.j.serviceOf(number); s != nil {
			c.restartingCheck(s, p, number)
			return
		}
	}
	l := &block{kind: "live", config: true}
	if c.action(l, "livenessProbe", p) {
		c.liveTimes(l, p)
		c.live = l
	}
}

// liveTimes adds the times and the number of failures.
func (c *container) liveTimes(l *block, p *corev1.Probe) {
	period, timeout := orDefault(p.PeriodSeconds, 10), orDefault(p.TimeoutSeconds, 1)
	interval := max(period, timeout)
	if interval > period {
		c.find("livenessProbe.timeoutSeconds", Decision, "the interval is %s instead of %s, since one attempt of `live` ends before the next begins", seconds(interval), seconds(period))
	}
	failures := orDefault(p.FailureThreshold, 3)
	// Kubernetes stops the container at this time at the earliest. The first attempt of live is an
	// interval after the start.
	earliest := max(0, int64(p.InitialDelaySeconds)) + (failures-1)*period
	if enough := (earliest + interval - 1) / interval; c.ready == nil && enough > failures {
		c.find("livenessProbe.initialDelaySeconds", Decision, "`live` has no delay, so that failures is %d instead of %d for a slow start; with a `ready` block, which delays it, %d suffices", enough, failures, failures)
		failures = enough
	}
	l.text("interval", seconds(interval))
	l.text("timeout", seconds(timeout))
	l.number("failures", failures)
}

// killKeys adds the settings with which the driver stops the task after a failed check: Nomad does
// not pass it the task's own kill_signal and kill_timeout.
func (c *container) killKeys(b *block) {
	if c.live == nil {
		return
	}
	if l := c.Lifecycle; l != nil && l.StopSignal != nil {
		b.text("kill_signal", string(*l.StopSignal))
	}
	grace := or(c.j.spec.TerminationGracePeriodSeconds, 30)
	b.text("kill_timeout", seconds(max(1, or(c.LivenessProbe.TerminationGracePeriodSeconds, grace))))
}

// restartingCheck adds a check of a service that restarts the task.
func (c *container) restartingCheck(s *registered, p *corev1.Probe, number int32) {
	if p.TerminationGracePeriodSeconds != nil {
		c.find("livenessProbe.terminationGracePeriodSeconds", NoEquivalent, "the task's `kill_timeout` applies")
	}
	b := c.check(s, "livenessProbe", p, number)
	b.text("task", c.Name) // without it all tasks restart
	r := b.child("check_restart")
	r.number("limit", orDefault(p.FailureThreshold, 3))
	if p.InitialDelaySeconds > 0 {
		r.text("grace", seconds(int64(p.InitialDelaySeconds)))
	}
}

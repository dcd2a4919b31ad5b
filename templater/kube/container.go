package kube

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// container is a container and its task.
type container struct {
	*corev1.Container
	j             *podJob
	path          string // such as spec.template.spec.containers[0]
	init, sidecar bool
	env           environment
	block         *block
	ready, live   *block // of the config; nil if there is none

	templates []*block
	mounts    []*block // volume_mount
	volumes   []string // of the config
	memory    []*block // pod_volume
	binds     []*block // mount
}

func (c *container) find(field string, fate Fate, format string, args ...any) {
	c.j.find(below(c.path, field), fate, format, args...)
}

func (c *container) wrong(field, format string, args ...any) {
	c.j.im.wrong(c.j.of, below(c.path, field), format, args...)
}

// translate makes the task.
func (c *container) translate() {
	c.environment()
	c.mount()
	c.probes()
	b := &block{kind: "task", labels: []string{c.Name}}
	c.block = b
	b.text("driver", "pod")
	if u := c.user(); u != "" {
		b.text("user", u)
	}
	c.life(b)
	b.add(c.config())
	c.env.print(c, b)
	for _, t := range c.templates {
		b.add(t)
	}
	for _, m := range c.mounts {
		b.add(m)
	}
	b.add(c.resources())
}

// life adds the parts of the task that concern its start and stop.
func (c *container) life(b *block) {
	grace := or(c.j.spec.TerminationGracePeriodSeconds, 30)
	b.text("kill_timeout", seconds(grace))
	if grace > 30 {
		c.j.find(c.j.at("terminationGracePeriodSeconds"), Decision, "clients allow 30s unless `max_kill_timeout` in their configuration is higher")
	}
	if l := c.Lifecycle; l != nil {
		if l.StopSignal != nil {
			b.text("kill_signal", string(*l.StopSignal))
		}
		if l.PreStop != nil && l.PreStop.Sleep != nil {
			b.text("shutdown_delay", seconds(l.PreStop.Sleep.Seconds))
		}
	}
	if !c.init {
		return
	}
	h := b.child("lifecycle")
	h.text("hook", "prestart")
	if c.sidecar {
		h.flag("sidecar")
		if c.j.kind == batch {
			b.add(always()) // Kubernetes restarts native sidecars, whatever the pod's policy
		}
	}
}

func (c *container) config() *block {
	b := &block{kind: "config", config: true}
	c.image(b)
	c.command(b)
	if c.WorkingDir != "" {
		b.text("work_dir", c.WorkingDir)
	}
	c.namespaces(b)
	b.texts("after", c.j.sidecarsBefore(c))
	c.security(b)
	c.killKeys(b)
	b.texts("volumes", c.volumes)
	for _, parts := range [][]*block{c.binds, c.memory} {
		for _, p := range parts {
			b.add(p)
		}
	}
	for _, p := range []*block{c.ready, c.live} {
		if p != nil {
			b.add(p)
		}
	}
	c.preStop(b)
	return b
}

func (c *container) image(b *block) {
	if c.Image == "" {
		c.wrong("image", "a container needs an image.")
	}
	b.text("image", c.Image)
	if !pullPolicy(b, c.Image, c.ImagePullPolicy) {
		c.wrong("imagePullPolicy", "want Always, IfNotPresent or Never.")
	}
}

// pullPolicy adds image_pull_policy, and reports whether the policy is one.
func pullPolicy(b *block, image string, policy corev1.PullPolicy) bool {
	if policy == "" && latest(image) {
		policy = corev1.PullAlways // the default of Kubernetes for such an image
	}
	switch policy {
	case corev1.PullAlways:
		b.text("image_pull_policy", "always")
	case corev1.PullNever:
		b.text("image_pull_policy", "never")
	case corev1.PullIfNotPresent, "":
	default:
		return false
	}
	return true
}

// latest reports whether an image has neither a digest nor a tag, or the tag "latest".
func latest(image string) bool {
	_, tag, tagged := strings.Cut(path.Base(image), ":")
	return !strings.Contains(image, "@") && (!tagged || tag == "latest")
}

// command adds entrypoint and args. Kubernetes resolves $(NAME) in both.
func (c *container) command(b *block) {
	for _, l := range []struct {
		field, key string
		values     []string
	}{{"command", "entrypoint", c.Command}, {"args", "args", c.Args}} {
		var out []string
		for i, v := range l.values {
			field := fmt.Sprintf("%s[%d]", l.field, i)
			c.mention(field, "", v)
			out = append(out, c.argument(field, v))
		}
		if len(out) > 0 {
			b.attr(l.key, list(out))
		}
	}
}

// argument returns an argument as HCL.
func (c *container) argument(field, text string) string {
	return expand(text, func(name string) (value, bool) {
		v, ok := c.env.get(name)
		switch _, fixed := v.fixed(); {
		case !ok:
			return nil, false
		case envName.MatchString(name) && !strings.Contains(name, "."):
			return value{{nomad: name}}, true
		case !fixed:
			c.find(field, Decision, "Nomad cannot refer to a variable of the name %q; rename it", name)
		}
		return v, true
	}).config()
}

func (c *container) namespaces(b *block) {
	s := c.j.spec
	if or(s.ShareProcessNamespace, false) {
		b.texts("share", []string{"ipc", "uts", "pid"})
	}
	switch {
	case s.HostnameOverride != nil:
		b.text("hostname", *s.HostnameOverride)
	case s.Hostname != "":
		b.text("hostname", s.Hostname)
	case c.j.stable && !s.HostNetwork:
		b.attr("hostname", value{{literal: c.j.name + "-"}, {nomad: "NOMAD_ALLOC_INDEX"}}.config())
	}
	for _, m := range []struct {
		field, key string
		set        bool
	}{{"hostPID", "pid_mode", s.HostPID}, {"hostIPC", "ipc_mode", s.HostIPC}} {
		if m.set {
			b.text(m.key, "host")
			c.j.find(c.j.at(m.field), Decision, "the operator must set allow_host_namespaces in the driver's plugin config")
		}
	}
	var hosts []string
	for _, a := range s.HostAliases {
		for _, h := range a.Hostnames {
			hosts = append(hosts, h+":"+a.IP)
		}
	}
	b.texts("extra_hosts", hosts)
}

func (c *container) preStop(b *block) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Exec == nil {
		return
	}
	command := c.Lifecycle.PreStop.Exec.Command
	if len(command) == 0 {
		c.wrong("lifecycle.preStop.exec.command", "the command is empty.")
		return
	}
	p := b.child("pre_stop")
	p.text("command", command[0])
	var args []string
	for _, a := range command[1:] {
		args = append(args, literal(a).config())
	}
	if len(args) > 0 {
		p.attr("args", list(args))
	}
	// The driver allows half of kill_timeout, and 5s by default.
	p.text("timeout", seconds(max(1, or(c.j.spec.TerminationGracePeriodSeconds, 30)/2)))
}

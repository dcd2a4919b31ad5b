package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// podSecurity and own return the security contexts, empty ones if the manifest has none.
func (c *container) podSecurity() corev1.PodSecurityContext {
	return or(c.j.spec.SecurityContext, corev1.PodSecurityContext{})
}

func (c *container) own() corev1.SecurityContext {
	return or(c.SecurityContext, corev1.SecurityContext{})
}

// first returns the first pointer that is set.
func first[T any](p ...*T) *T {
	for _, v := range p {
		if v != nil {
			return v
		}
	}
	return nil
}

// user returns the task's user, "" for the image's.
func (c *container) user() string {
	pod, own := c.podSecurity(), c.own()
	uid, gid := first(own.RunAsUser, pod.RunAsUser), first(own.RunAsGroup, pod.RunAsGroup)
	nonRoot := or(first(own.RunAsNonRoot, pod.RunAsNonRoot), false)
	switch {
	case uid == nil && gid != nil:
		c.find("securityContext.runAsGroup", Decision, "without runAsUser the task keeps the group of the image's user; set `user = \"UID:%d\"`", *gid)
		return ""
	case uid == nil && nonRoot:
		c.find("securityContext.runAsNonRoot", Decision, "Nomad does not check that the image's user is not root; set `user`")
		return ""
	case uid == nil:
		return ""
	case *uid == 0 && nonRoot:
		c.wrong("securityContext.runAsNonRoot", "it contradicts runAsUser: 0.")
	}
	if gid == nil {
		return fmt.Sprint(*uid)
	}
	return fmt.Sprintf("%d:%d", *uid, *gid)
}

// mayWriteAsOther reports whether the manifest names a user other than root.
func (c *container) mayWriteAsOther() bool {
	pod, own := c.podSecurity(), c.own()
	return or(first(own.RunAsUser, pod.RunAsUser), 0) != 0 || or(first(own.RunAsNonRoot, pod.RunAsNonRoot), false)
}

func (c *container) security(b *block) {
	pod, own := c.podSecurity(), c.own()
	var groups []string
	for _, g := range pod.SupplementalGroups {
		groups = append(groups, fmt.Sprint(g))
	}
	if g := pod.FSGroup; g != nil && !slices.Contains(groups, fmt.Sprint(*g)) {
		groups = append(groups, fmt.Sprint(*g))
	}
	b.texts("group_add", groups)
	if or(own.Privileged, false) {
		b.flag("privileged")
		c.find("securityContext.privileged", Decision, "the operator must set allow_privileged in the driver's plugin config")
	}
	if caps := own.Capabilities; caps != nil {
		b.texts("cap_add", capabilities(caps.Add))
		b.texts("cap_drop", capabilities(caps.Drop))
	}
	if or(own.ReadOnlyRootFilesystem, false) {
		b.flag("readonly_rootfs")
	}
	b.texts("security_opt", c.options(pod, own))
	if limit, ok := c.Resources.Limits[corev1.ResourceCPU]; ok {
		if request, has := c.Resources.Requests[corev1.ResourceCPU]; !has || request.Cmp(limit) == 0 {
			b.flag("cpu_hard_limit")
		}
	}
	var sysctls []pair
	for _, s := range pod.Sysctls {
		sysctls = append(sysctls, pair{s.Name, b.expression(s.Value)})
	}
	b.pairs("sysctl", sysctls)
}

func capabilities(names []corev1.Capability) []string {
	var out []string
	for _, n := range names {
		out = append(out, strings.TrimPrefix(strings.ToLower(string(n)), "cap_"))
	}
	return out
}

// options returns security_opt.
func (c *container) options(pod corev1.PodSecurityContext, own corev1.SecurityContext) []string {
	var out []string
	if or(own.AllowPrivilegeEscalation, false) {
		out = append(out, "no-new-privileges=false")
	}
	permit := func(field string) {
		c.find("securityContext."+field, Decision, "the operator must set allow_privileged in the driver's plugin config")
	}
	if p := first(own.SeccompProfile, pod.SeccompProfile); p != nil && p.Type == corev1.SeccompProfileTypeUnconfined {
		out = append(out, "seccomp=unconfined")
		permit("seccompProfile")
	}
	p := first(own.AppArmorProfile, pod.AppArmorProfile)
	switch {
	case p == nil:
	case p.Type == corev1.AppArmorProfileTypeUnconfined:
		out = append(out, "apparmor=unconfined")
		permit("appArmorProfile")
	case p.Type == corev1.AppArmorProfileTypeLocalhost:
		out = append(out, "apparmor="+or(p.LocalhostProfile, ""))
		permit("appArmorProfile")
	}
	return out
}

// mention reports a value that contains the name of a Service as a host. Nomad has no DNS for
// services.
func (c *container) mention(field, variable, text string) {
	if name := c.j.mentioned(variable, text); name != "" {
		c.find(field, Decision, "it has the name of Service %q, and Nomad has no DNS names for services: render the address with a template and nomadService %q", name, name)
	}
}

func (c *container) mentionIn(o *object, path, variable, text string) {
	c.j.mentionIn(o, path, variable, text)
}

// mentionIn is mention for data of another object.
func (j *podJob) mentionIn(o *object, path, variable, text string) {
	if name := j.mentioned(variable, text); name != "" {
		j.findIn(o, path, Decision, "it has the name of Service %q, and Nomad has no DNS names for services: render the address with a template and nomadService %q", name, name)
	}
}

// mentioned returns the name of a Service of the files that a text has as a host: before a port, in
// a URL, with a domain, or as the whole value of a variable that names a host.
func (j *podJob) mentioned(variable, text string) string {
	names := map[string]bool{}
	for _, o := range j.im.objects {
		if _, ok := o.value.(*corev1.Service); ok {
			names[o.name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if text == name && hostVariable.MatchString(variable) {
			return name
		}
		for rest, offset := text, 0; ; {
			i := strings.Index(rest, name)
			if i < 0 {
				break
			}
			if isHost(text, offset+i, len(name)) {
				return name
			}
			rest, offset = rest[i+len(name):], offset+i+len(name)
		}
	}
	return ""
}

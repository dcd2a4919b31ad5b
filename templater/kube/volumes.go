package kube

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// mount mounts the container's volumes.
func (c *container) mount() {
	for i := range c.VolumeMounts {
		m, field := &c.VolumeMounts[i], fmt.Sprintf("volumeMounts[%d]", i)
		switch {
		case !path.IsAbs(m.MountPath) || strings.Contains(m.MountPath, ":"):
			c.wrong(field+".mountPath", "want an absolute path without colons.")
		case m.SubPath != "" && (path.IsAbs(m.SubPath) || strings.Contains(m.SubPath, ":") || slices.Contains(strings.Split(m.SubPath, "/"), "..")):
			c.wrong(field+".subPath", "want a path below the volume.")
		default:
			c.mountVolume(m, field)
		}
	}
}

func (c *container) mountVolume(m *corev1.VolumeMount, field string) {
	j := c.j
	if i := slices.IndexFunc(j.claims, func(p corev1.PersistentVolumeClaim) bool { return p.Name == m.Name }); i >= 0 {
		j.claimTemplate(i)
		c.mountClaim(m, field)
		return
	}
	i := slices.IndexFunc(j.spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	if i < 0 {
		c.wrong(field+".name", "the pod has no volume %q.", m.Name)
		return
	}
	v, at := &j.spec.Volumes[i], j.at(fmt.Sprintf("volumes[%d]", i))
	switch {
	case v.EmptyDir != nil:
		c.mountEmptyDir(m, v, field, at)
	case v.HostPath != nil:
		c.mountHostPath(m, v.HostPath, at)
	case v.PersistentVolumeClaim != nil:
		j.claim(v, at)
		c.mountClaim(m, field)
	case v.Image != nil:
		c.mountImage(m, v.Image, at)
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		c.mountFiles(m, v, at)
	}
}

// bindTo adds a mount of a source to the task.
func (c *container) bindTo(source string, m *corev1.VolumeMount, readonly bool) {
	text := path.Join(source, m.SubPath) + ":" + m.MountPath
	if strings.HasPrefix(source, "../") {
		text = source + strings.TrimSuffix("/"+m.SubPath, "/") + ":" + m.MountPath
	}
	if readonly {
		text += ":ro"
	}
	c.volumes = append(c.volumes, text)
}

func (c *container) mountEmptyDir(m *corev1.VolumeMount, v *corev1.Volume, field, at string) {
	e := v.EmptyDir
	switch e.Medium {
	case corev1.StorageMediumMemory:
		b := &block{kind: "pod_volume", labels: []string{v.Name}, config: true}
		b.text("target", m.MountPath)
		if e.SizeLimit != nil {
			n := (e.SizeLimit.Value() + 1<<20 - 1) >> 20
			b.text("size", fmt.Sprintf("%dm", n))
			if n > 128 {
				c.j.find(at+".emptyDir.sizeLimit", Decision, "the operator's shared_memory_max is 256m by default, for all memory that a pod shares")
			}
		}
		if m.ReadOnly {
			b.flag("readonly")
		}
		if m.SubPath != "" {
			c.find(field+".subPath", NoEquivalent, "a pod_volume is mounted as a whole")
		}
		c.memory = append(c.memory, b)
		return
	case corev1.StorageMediumDefault:
	default:
		c.j.find(at+".emptyDir.medium", NoEquivalent, "the volume is a directory in /alloc instead of huge pages")
	}
	if e.SizeLimit != nil {
		c.j.find(at+".emptyDir.sizeLimit", NoEquivalent, "Nomad has one limit for an allocation's disk, `ephemeral_disk`, and does not enforce it for directories")
	}
	source, open := c.j.disk(v.Name)
	if (!open || m.SubPath != "") && c.mayWriteAsOther() && !m.ReadOnly {
		c.find(field, Decision, "the directory belongs to root, and the task's user cannot write to it; let a prestart task change its mode")
	}
	c.bindTo(source, m, m.ReadOnly)
}

// disk returns the directory of an emptyDir volume, and whether every user may write to it. Nomad
// makes two directories of the allocation that are.
func (j *podJob) disk(name string) (source string, open bool) {
	i := slices.Index(j.disks, name)
	if i < 0 {
		i, j.disks = len(j.disks), append(j.disks, name)
	}
	switch i {
	case 0:
		return "../alloc/data", true
	case 1:
		return "../alloc/tmp", true
	}
	return "../alloc/" + name, false
}

func (c *container) mountImage(m *corev1.VolumeMount, i *corev1.ImageVolumeSource, at string) {
	if i.Reference == "" {
		c.j.im.wrong(c.j.of, at+".image.reference", "a volume needs an image.")
		return
	}
	b := &block{kind: "mount", config: true}
	b.text("type", "image")
	b.text("source", i.Reference)
	b.text("target", m.MountPath)
	if !pullPolicy(b, i.Reference, i.PullPolicy) {
		c.j.im.wrong(c.j.of, at+".image.pullPolicy", "want Always, IfNotPresent or Never.")
	}
	if m.SubPath != "" {
		b.child("image_options").text("subpath", m.SubPath)
	}
	c.binds = append(c.binds, b)
}

func (c *container) mountHostPath(m *corev1.VolumeMount, h *corev1.HostPathVolumeSource, at string) {
	if !path.IsAbs(h.Path) || strings.Contains(h.Path, ":") {
		c.j.im.wrong(c.j.of, at+".hostPath.path", "want an absolute path without colons.")
		return
	}
	kind := or(h.Type, "")
	what := "the operator must set volumes { enabled = true } in the driver's plugin config"
	if kind == corev1.HostPathCharDev || kind == corev1.HostPathBlockDev {
		what = "name the device in `devices` instead of `volumes`; the operator must set allow_devices"
	}
	c.j.find(at+".hostPath", Decision, "%s", what)
	propagation := map[corev1.MountPropagationMode]string{
		corev1.MountPropagationHostToContainer: "rslave", corev1.MountPropagationBidirectional: "rshared",
	}[or(m.MountPropagation, "")]
	mustExist := kind == corev1.HostPathDirectory || kind == corev1.HostPathFile || kind == corev1.HostPathSocket
	if propagation != "" || mustExist { // volumes creates a missing directory
		b := &block{kind: "mount", config: true}
		b.text("type", "bind")
		b.text("source", path.Join(h.Path, m.SubPath))
		b.text("target", m.MountPath)
		if m.ReadOnly {
			b.flag("readonly")
		}
		if propagation != "" {
			b.child("bind_options").text("propagation", propagation)
		}
		c.binds = append(c.binds, b)
		return
	}
	c.bindTo(path.Clean(h.Path), m, m.ReadOnly)
}

// volume adds a volume of the group.
func (j *podJob) volume(name, source string, readonly, perAlloc bool) {
	if j.volumes[name] != nil {
		return
	}
	b := &block{kind: "volume", labels: []string{name}}
	b.text("type", "host")
	b.text("source", source)
	if readonly {
		b.flag("read_only")
	}
	if perAlloc {
		b.flag("per_alloc")
	}
	j.volumes[name], j.volumeOrder = b, append(j.volumeOrder, name)
}

// claim adds the volume of a claim.
func (j *podJob) claim(v *corev1.Volume, at string) {
	p := v.PersistentVolumeClaim
	what := "it is in none of the files"
	if o := j.im.lookup("PersistentVolumeClaim", j.of.ns(), p.ClaimName); o != nil {
		j.use(o)
		if pvc, ok := o.value.(*corev1.PersistentVolumeClaim); ok {
			what = wants(&pvc.Spec)
		}
	}
	j.find(at+".persistentVolumeClaim", Decision, "create a host volume %q, or a CSI volume and set `type`, `access_mode` and `attachment_mode`: %s", p.ClaimName, what)
	j.volume(v.Name, p.ClaimName, p.ReadOnly, false)
}

func (j *podJob) claimTemplate(i int) {
	p := j.claims[i]
	j.find(fmt.Sprintf("spec.volumeClaimTemplates[%d]", i), Decision, "create a volume for each allocation, %s-%s[0] and so on: %s", p.Name, j.of.name, wants(&p.Spec))
	j.volume(p.Name, p.Name+"-"+j.of.name, false, true)
}

// wants describes a claim.
func wants(s *corev1.PersistentVolumeClaimSpec) string {
	out := "any size"
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; ok {
		out = q.String()
	}
	for _, m := range s.AccessModes {
		out += ", " + string(m)
	}
	if s.StorageClassName != nil {
		out += ", storage class " + *s.StorageClassName
	}
	if s.VolumeName != "" {
		out += ", volume " + s.VolumeName
	}
	if or(s.VolumeMode, "") == corev1.PersistentVolumeBlock {
		out += ", a block device"
	}
	if q, ok := s.Resources.Limits[corev1.ResourceStorage]; ok {
		out += ", at most " + q.String()
	}
	return out
}

func (c *container) mountClaim(m *corev1.VolumeMount, field string) {
	if m.SubPath != "" {
		c.find(field+".subPath", NoEquivalent, "Nomad mounts a volume as a whole; the directory %q is not at its place", m.SubPath)
	}
	b := &block{kind: "volume_mount"}
	b.text("volume", m.Name)
	b.text("destination", m.MountPath)
	if m.ReadOnly {
		b.flag("read_only")
	}
	switch or(m.MountPropagation, "") {
	case corev1.MountPropagationHostToContainer:
		b.text("propagation_mode", "host-to-task")
	case corev1.MountPropagationBidirectional:
		b.text("propagation_mode", "bidirectional")
	}
	c.mounts = append(c.mounts, b)
	if c.j.spec.SecurityContext != nil && c.j.spec.SecurityContext.FSGroup != nil {
		c.j.find(c.j.at("securityContext.fsGroup"), Decision, "the tasks are in the group, but Nomad changes no owners: let the group own the files of the volume")
	}
}

package kube

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// mib returns a quantity in MiB, rounded up.
func mib(q resource.Quantity) int64 { return (q.Value() + 1<<20 - 1) >> 20 }

// DefaultCoreMHz is the CPU that Nomad counts for a core of Kubernetes, unless an option says
// otherwise: a request of 100m becomes 100 MHz.
const DefaultCoreMHz = 1000

// resources returns the task's resources block.
func (c *container) resources() *block {
	b := &block{kind: "resources"}
	limits, requests := c.Resources.Limits, c.Resources.Requests
	cpu, hasCPU := requests[corev1.ResourceCPU]
	limit, hasLimit := limits[corev1.ResourceCPU]
	if !hasCPU {
		cpu, hasCPU = limit, hasLimit
	}
	mhz := int64(100)
	if hasCPU {
		mhz = max(1, (cpu.MilliValue()*int64(c.j.im.options.CoreMHz)+999)/1000)
	} else {
		b.comment("The manifest requests no CPU; this is Nomad's default.")
	}
	b.number("cpu", mhz)
	if hasLimit && limit.Cmp(cpu) != 0 {
		c.find("resources.limits.cpu", NoEquivalent, "a task may use idle CPU beyond its share; only a limit that equals the request is one in Nomad, `cpu_hard_limit`")
	}
	c.memoryOf(b)
	for _, list := range []struct {
		field string
		list  corev1.ResourceList
	}{{"requests", requests}, {"limits", limits}} {
		c.otherResources("resources."+list.field, list.list)
	}
	return b
}

func (c *container) memoryOf(b *block) {
	request, has := c.Resources.Requests[corev1.ResourceMemory]
	limit, limited := c.Resources.Limits[corev1.ResourceMemory]
	if !has {
		request, has = limit, limited
	}
	memory := int64(300)
	if has {
		memory = max(10, mib(request)) // the least that Nomad accepts
	} else {
		b.comment("The manifest requests no memory; this is Nomad's default.")
	}
	if memory > 1<<30 || limited && mib(limit) > 1<<30 {
		c.wrong("resources", "a container cannot have a pebibyte of memory.")
	}
	b.number("memory", memory)
	switch {
	case limited && mib(limit) > memory:
		b.number("memory_max", mib(limit))
	case !limited:
		b.comment("No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.")
		b.number("memory_max", -1)
	}
}

// otherResources reports resources other than CPU and memory. Requests of storage add up to the
// group's disk.
func (c *container) otherResources(field string, list corev1.ResourceList) {
	var names []string
	for name := range list {
		names = append(names, string(name))
	}
	slices.SortFunc(names, cmp.Compare[string])
	for _, name := range names {
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory:
		case corev1.ResourceEphemeralStorage:
			if field == "resources.requests" {
				c.j.diskMB += mib(list[corev1.ResourceEphemeralStorage])
			} else {
				c.find(field+"."+name, NoEquivalent, "Nomad does not limit the disk of a task")
			}
		default:
			c.find(field+"."+name, Decision, "ask for a device with a `device` block in resources, if a client has a device plugin for it")
		}
	}
}

package templater

import (
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Resources are the resources that tasks reserve. A field is 0 if no task reserves any.
type Resources struct {
	CPUMHz, Cores, MemoryMB, MemoryMaxMB, Ports int
	// DiskMB is the space for logs on the group's shared ephemeral disk.
	DiskMB int
}

func (r *Resources) add(o Resources) {
	r.CPUMHz += o.CPUMHz
	r.Cores += o.Cores
	r.MemoryMB += o.MemoryMB
	r.MemoryMaxMB += o.MemoryMaxMB
	r.Ports += o.Ports
	r.DiskMB += o.DiskMB
}

func (r *Resources) max(o Resources) {
	r.CPUMHz = max(r.CPUMHz, o.CPUMHz)
	r.Cores = max(r.Cores, o.Cores)
	r.MemoryMB = max(r.MemoryMB, o.MemoryMB)
	r.MemoryMaxMB = max(r.MemoryMaxMB, o.MemoryMaxMB)
}

// Times multiplies the resources by n allocations.
func (r Resources) Times(n int) Resources {
	return Resources{r.CPUMHz * n, r.Cores * n, r.MemoryMB * n, r.MemoryMaxMB * n, r.Ports * n, r.DiskMB * n}
}

// Total is the resources that the sidecars of one group add to each of its allocations. Count is
// the number of allocations in all regions, or -1 if it is unknown.
type Total struct {
	Group string
	Count int
	Tasks int
	Resources
}

// Totals sums the resources that edits add, per group. As in Nomad
// (structs.AllocatedResources), tasks that do not run at the same time are not added up: the
// largest of three sums counts, for tasks that run with the app, before it, and after it.
func Totals(j *job.Job, edits []job.Edit) []Total {
	var out []Total
	for _, g := range j.Groups {
		t := Total{Group: g.Name, Count: allocations(j, g)}
		var beside, before, after Resources
		disk := 0 // logs stay until the allocation is removed
		for _, e := range edits {
			switch e := e.(type) {
			case *job.AddTask:
				if e.Group != g.Name {
					continue
				}
				t.Tasks++
				r := TaskResources(e.Task)
				disk += r.DiskMB
				hook, stays := lifecycleOf(e.Task)
				switch {
				case hook == "prestart" && stays:
					beside.add(r)
					before.add(r)
				case hook == "prestart":
					before.add(r)
				case hook == "poststop":
					after.add(r)
				default:
					beside.add(r)
				}
			case *job.AddPort:
				if e.Group == g.Name {
					t.Ports++
				}
			}
		}
		beside.max(before)
		beside.max(after)
		beside.Ports, beside.DiskMB = t.Ports, disk
		t.Resources = beside
		if t.Tasks+t.Ports > 0 {
			out = append(out, t)
		}
	}
	return out
}

// allocations returns the number of a group's allocations, in all regions of a multiregion job;
// -1 if it is unknown. A region's count replaces a group's count only if that is 0.
func allocations(j *job.Job, g *job.Group) int {
	if !g.Count.IsKnown() || g.Count.IsNull() {
		return -1
	}
	own, _ := g.Count.AsBigFloat().Int64()
	if len(j.Regions) == 0 {
		return int(own)
	}
	all := 0
	for _, r := range j.Regions {
		if r.Unknown != nil {
			return -1
		}
		if all += int(own); own == 0 {
			all += r.Count
		}
	}
	return all
}

// Sum adds up all allocations of all groups; a group with an unknown count counts once.
func Sum(totals []Total) Resources {
	var out Resources
	for _, t := range totals {
		n := t.Count
		if n < 0 {
			n = 1
		}
		out.add(t.Times(n))
	}
	return out
}

// TaskResources returns a task's resources, with Nomad's defaults for missing values
// (api.DefaultResources).
func TaskResources(t *sidecar.Block) Resources {
	r := Resources{CPUMHz: 100, MemoryMB: 300}
	for _, b := range t.Body.Blocks("resources") {
		if n := whole(b.Body.Attr("cores")); n > 0 {
			r.Cores, r.CPUMHz = n, 0
		}
		for name, into := range map[string]*int{"cpu": &r.CPUMHz, "memory": &r.MemoryMB, "memory_max": &r.MemoryMaxMB} {
			if n := whole(b.Body.Attr(name)); n > 0 {
				*into = n
			}
		}
	}
	r.MemoryMaxMB = max(r.MemoryMaxMB, r.MemoryMB)
	r.DiskMB = logsOf(t).MaxMB()
	return r
}

func lifecycleOf(t *sidecar.Block) (hook string, stays bool) {
	for _, b := range t.Body.Blocks("lifecycle") {
		a := b.Body.Attr("sidecar")
		return b.Body.String("hook"), a != nil && a.Value.Type() == cty.Bool && a.Value.True()
	}
	return "", false
}

// whole returns a whole number, or 0 for any other value.
func whole(a *sidecar.Attr) int {
	if a == nil {
		return 0
	}
	v, err := convert.Convert(a.Value, cty.Number)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return 0
	}
	n, _ := v.AsBigFloat().Int64()
	return int(n)
}

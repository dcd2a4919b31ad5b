package templater

import (
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Resources is what tasks ask of a client. A field is 0 where nothing asks.
type Resources struct {
	CPUMHz, Cores, MemoryMB, MemoryMaxMB, Ports int
	// DiskMB is what logs may take of the group's ephemeral disk, which is shared.
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

// Times is what n allocations ask for.
func (r Resources) Times(n int) Resources {
	return Resources{r.CPUMHz * n, r.Cores * n, r.MemoryMB * n, r.MemoryMaxMB * n, r.Ports * n, r.DiskMB * n}
}

// Total is what the sidecars of one group add to each of its allocations. Count is
// how many of these there are, -1 where it depends on a variable without a value.
type Total struct {
	Group string
	Count int
	Tasks int
	Resources
}

// Totals sums up what edits add, group by group. Tasks that do not run at the same
// time are not added up, by Nomad's own rule: the most of what runs beside the app,
// what runs before it, and what runs after it (structs.AllocatedResources).
func Totals(j *job.Job, edits []job.Edit) []Total {
	var out []Total
	for _, g := range j.Groups {
		t := Total{Group: g.Name, Count: -1}
		if g.Count.IsKnown() && !g.Count.IsNull() {
			n, _ := g.Count.AsBigFloat().Int64()
			t.Count = int(n)
		}
		var beside, before, after Resources
		disk := 0 // logs stay until the allocation is gone
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

// Sum is what all allocations of all groups ask for together; a group whose count
// is not known counts once.
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

// TaskResources reads a task's resources. What it does not say is what Nomad gives
// it (api.DefaultResources).
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
	r.DiskMB = logsMB(t)
	return r
}

// logsMB is what a task's logs may take, by Nomad's defaults of ten files of 10 MB
// for what is not said (api.DefaultLogConfig).
func logsMB(t *sidecar.Block) int {
	l := logsOf(t)
	if l.Disabled {
		return 0
	}
	files, size := defaultLogs, defaultLogs
	if l.Files > 0 {
		files = l.Files
	}
	if l.SizeMB > 0 {
		size = l.SizeMB
	}
	return files * size
}

func lifecycleOf(t *sidecar.Block) (hook string, stays bool) {
	for _, b := range t.Body.Blocks("lifecycle") {
		a := b.Body.Attr("sidecar")
		return b.Body.String("hook"), a != nil && a.Value.Type() == cty.Bool && a.Value.True()
	}
	return "", false
}

// whole is the value of a whole number, 0 for anything else.
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

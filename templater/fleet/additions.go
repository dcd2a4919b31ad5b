package fleet

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// compareAdditions compares additions of the sidecar other than its tasks.
func (d *comparison) compareAdditions() {
	for _, label := range d.added.Ports {
		if !within(generic(port(d.want, label)), generic(port(d.have, label)), false) {
			d.differs("port %q", label)
		}
	}
	for _, name := range d.added.Volumes {
		if !within(generic(d.want.Volumes[name]), generic(d.have.Volumes[name]), false) {
			d.differs("volume %q", name)
		}
	}
	// Services of the sidecar are last; the job may have others with the same name.
	brought := d.want.Services[max(0, len(d.want.Services)-len(d.added.Services)):]
	for _, s := range brought {
		if !slices.ContainsFunc(d.have.Services, func(o *api.Service) bool { return within(generic(s), generic(o), false) }) {
			d.differs("service %q", s.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.added.Env)) {
		d.env(name, d.added.Env[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.added.Config)) {
		d.config(name, d.added.Config[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.added.Blocks)) {
		d.blocks(name, d.added.Blocks[name])
	}
}

func port(g *api.TaskGroup, label string) *api.Port {
	for _, n := range g.Networks {
		for i, p := range n.DynamicPorts {
			if p.Label == label {
				return &n.DynamicPorts[i]
			}
		}
	}
	return nil
}

func (d *comparison) env(name string, variables []string) {
	want, have := task(d.want, name).Env, task(d.have, name).Env
	for _, v := range variables {
		if want[v] != have[v] {
			d.differs("variable %s of task %q", v, name)
		}
	}
}

// config compares list items that were added, or a setting as a whole.
func (d *comparison) config(name string, settings map[string]json.RawMessage) {
	want, have := task(d.want, name).Config, task(d.have, name).Config
	for _, setting := range slices.Sorted(maps.Keys(settings)) {
		var items []any
		if json.Unmarshal(settings[setting], &items) == nil && items != nil {
			list, _ := generic(have[setting]).([]any)
			for _, item := range items {
				if !slices.ContainsFunc(list, func(o any) bool { return within(item, o, true) && within(o, item, true) }) {
					d.differs("config %s of task %q", setting, name)
				}
			}
			continue
		}
		if !within(generic(want[setting]), generic(have[setting]), true) {
			d.differs("config %s of task %q", setting, name)
		}
	}
}

func (d *comparison) blocks(name string, blocks []job.AddedBlock) {
	for _, b := range blocks {
		if !within(block(task(d.want, name), b), block(task(d.have, name), b), false) {
			d.differs("the %s at %q of task %q", b.Type, b.Destination, name)
		}
	}
}

func block(t *api.Task, b job.AddedBlock) any {
	for _, m := range t.VolumeMounts {
		if b.Type == "volume_mount" && m.Destination != nil && *m.Destination == b.Destination {
			return generic(m)
		}
	}
	for _, o := range t.Templates {
		if b.Type == "template" && o.DestPath != nil && *o.DestPath == b.Destination {
			return generic(o)
		}
	}
	return nil
}

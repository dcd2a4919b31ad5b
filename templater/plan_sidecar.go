package templater

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// envSpelling returns a task name or port label as it appears in variables such as
// NOMAD_ADDR_<task>_<port>. Names with the same spelling overwrite each other's variables
// (nomad#5301).
func envSpelling(name string) string { return strings.ReplaceAll(name, "-", "_") }

// sidecarPlan plans one sidecar in one group.
type sidecarPlan struct {
	*planner
	state  *groupState
	choice *Choice
	def    *sidecar.Definition
	added  *job.Added
}

func (x *sidecarPlan) me() owner {
	return owner{fmt.Sprintf("sidecar %q %s", x.def.Name, x.def.Version), x.def.Range}
}

// recordSpelling records the original spelling of a container before its first item is added. The
// container belongs to task t, or to the group if t is nil.
func (x *sidecarPlan) recordSpelling(t *job.Task, field string) {
	name, bare := "", x.state.group.Bare
	if t != nil {
		name, bare = t.Name, t.Bare
	}
	if key := name + "/" + field; !x.state.recorded[key] {
		x.state.recorded[key] = true
		if spelt, ok := bare[field]; ok {
			x.added.SetBare(name, field, spelt)
		}
	}
}

// network checks the group's network mode. The mode is never changed, because that would change
// the app's addresses.
func (x *sidecarPlan) network(inst *sidecar.Instance) bool {
	g, modes := x.state.group, x.def.Requires.Network
	mode, at := "host", g.Range
	if len(g.Networks) > 0 {
		if u := g.Networks[0].Mode.Unknown; u != nil && len(modes) > 0 {
			x.unknown(u, "The network mode %s that sidecar %q needs in group %q", quotedOr(modes), x.def.Name, g.Name)
			return false
		}
		mode, at = g.Networks[0].Mode.Value, g.Networks[0].Range
	}
	kind, _, _ := strings.Cut(mode, "/")
	if len(modes) > 0 && !slices.Contains(modes, kind) {
		has := fmt.Sprintf("has network mode %q", mode)
		if len(g.Networks) == 0 {
			has = `has no network block, which means network mode "host"`
		}
		x.conflict(at, "Unusable network mode", "Sidecar %q needs network mode %s (%s), but group %q %s. Set network { mode = %q } in the group if its tasks can have their own addresses; injection does not change the mode.",
			x.def.Name, quotedOr(modes), x.def.Requires.Range, g.Name, has, modes[0])
		return false
	}
	if len(g.Networks) == 0 && len(inst.Ports) > 0 {
		x.conflict(g.Range, "No network for a port", "Sidecar %q adds port %q (%s), but group %q has no network block to add it to. Add network { mode = \"bridge\" } to the group.",
			x.def.Name, inst.Ports[0].Label, inst.Ports[0].Range, g.Name)
		return false
	}
	return true
}

func (x *sidecarPlan) ports(inst *sidecar.Instance) {
	st := x.state
	for _, p := range inst.Ports {
		if of, taken := st.ports[envSpelling(p.Label)]; taken {
			x.conflict(of.at, "Port label taken", "Sidecar %q adds a port labelled %q to group %q (%s), but %s already has that label, or one that differs only in dashes. Rename one of the two.",
				x.def.Name, p.Label, st.group.Name, p.Range, of)
			continue
		}
		if of, taken := st.inside[p.To]; taken && p.To > 0 {
			x.conflict(of.at, "Port taken inside the pod", "Port %q of sidecar %q maps to %d inside the pod of group %q (%s), but %s does too, and only one process can listen there. Choose another port in the sidecar's parameters or in the job.",
				p.Label, x.def.Name, p.To, st.group.Name, p.Range, of)
			continue
		}
		if st.unknown.inside != nil && p.To > 0 {
			x.unknown(st.unknown.inside, "Whether port %d inside the pod of group %q is free for sidecar %q", p.To, st.group.Name, x.def.Name)
			continue
		}
		of := owner{fmt.Sprintf("port %q of sidecar %q", p.Label, x.def.Name), p.Range}
		st.ports[envSpelling(p.Label)] = of
		if p.To > 0 {
			st.inside[p.To] = of
		}
		x.recordSpelling(nil, "DynamicPorts")
		x.add(&job.AddPort{Group: st.group.Name, Label: p.Label, To: p.To})
		x.added.AddPort(p.Label, p.To)
	}
}

func (x *sidecarPlan) volumes(inst *sidecar.Instance) {
	for _, v := range inst.Volumes {
		if of, taken := x.state.volumes[v.Label()]; taken {
			x.conflict(of.at, "Volume name taken", "Sidecar %q adds volume %q to group %q (%s), but %s already has that name. Rename one of the two.",
				x.def.Name, v.Label(), x.state.group.Name, v.Range, of)
			continue
		}
		x.state.volumes[v.Label()] = x.me()
		x.recordSpelling(nil, "Volumes")
		x.add(&job.AddVolume{Group: x.state.group.Name, Volume: v})
		x.added.AddVolume(v)
	}
}

func (x *sidecarPlan) services(inst *sidecar.Instance) {
	for _, s := range inst.Services {
		x.checkService(s)
		x.recordSpelling(nil, "Services")
		x.add(&job.AddService{Group: x.state.group.Name, Service: s})
		x.added.AddService(s)
	}
	for _, t := range inst.Tasks {
		for _, s := range t.Body.Blocks("service") {
			x.checkService(s)
		}
	}
}

// checkService applies Nomad's rules for services of a group: one provider, and no two services
// with the same name and port (structs.TaskGroup.validateServices).
func (x *sidecarPlan) checkService(s *sidecar.Block) {
	st := x.state
	if st.unknown.services != nil {
		x.unknown(st.unknown.services, "Whether service %q of sidecar %q is compatible with the services of group %q", s.Body.String("name"), x.def.Name, st.group.Name)
		return
	}
	provider := s.Body.String("provider")
	if provider == "" {
		provider = "consul"
	}
	if st.provider != "" && st.provider != provider {
		x.conflict(st.providerOf.at, "Two service providers", "Sidecar %q adds a service with provider %q (%s), but %s of group %q has provider %q, and Nomad allows one provider in a group. Use the same provider for both.",
			x.def.Name, provider, s.Range, st.providerOf, st.group.Name, st.provider)
		return
	}
	st.provider, st.providerOf = provider, x.me()
	key := s.Body.String("name") + "\x00" + s.Body.String("port")
	if of, taken := st.service[key]; taken {
		x.conflict(of.at, "Service taken", "Sidecar %q adds service %q on port %q (%s), but %s of group %q is the same. Rename one of the two.",
			x.def.Name, s.Body.String("name"), s.Body.String("port"), s.Range, of, st.group.Name)
		return
	}
	st.service[key] = x.me()
}

func (x *sidecarPlan) env(inst *sidecar.Instance) {
	for _, t := range x.state.group.Tasks {
		for _, v := range inst.Env {
			if v.Declared != nil && v.Declared.Append {
				x.appendEnv(t, v)
			} else {
				x.setEnv(t, v)
			}
		}
	}
}

func (x *sidecarPlan) setEnv(t *job.Task, v *sidecar.Variable) {
	env, value := x.state.env[t.Name], v.Value.AsString()
	if have, ok := env[v.Name]; ok {
		if have.text.Unknown != nil {
			x.unknown(have.text.Unknown, "Whether sidecar %q may set %s in task %q of group %q", x.def.Name, v.Name, t.Name, x.state.group.Name)
			return
		}
		if have.text.Value == value {
			return
		}
		where := ""
		if have.of.who != fmt.Sprintf("task %q", t.Name) {
			where = fmt.Sprintf(" in task %q", t.Name)
		}
		x.conflict(have.of.at, "Environment variable taken", "Sidecar %q sets %s in the app tasks of group %q (%s), but %s sets it%s to another value. Remove it there, or set the same value.",
			x.def.Name, v.Name, x.state.group.Name, v.Range, have.of, where)
		return
	}
	if u := x.state.unknown.env[t.Name]; u != nil {
		x.unknown(u, "Whether sidecar %q may set %s in task %q of group %q", x.def.Name, v.Name, t.Name, x.state.group.Name)
		return
	}
	env[v.Name] = envValue{job.Text{Value: value, Range: v.Range}, x.me(), nil}
	x.recordSpelling(t, "Env")
	x.add(&job.SetEnv{Group: x.state.group.Name, Task: t.Name, Name: v.Name, Value: value})
	x.added.SetEnv(t.Name, v.Name, value)
}

// appendEnv adds the value to a variable of a task, unless it is one of its parts already.
func (x *sidecarPlan) appendEnv(t *job.Task, v *sidecar.Variable) {
	have, set := x.state.env[t.Name][v.Name]
	if u := cmp.Or(have.text.Unknown, x.state.unknown.env[t.Name]); u != nil && (!set || have.text.Unknown != nil) {
		x.unknown(u, "What sidecar %q adds to %s in task %q of group %q", x.def.Name, v.Name, t.Name, x.state.group.Name)
		return
	}
	more := job.Appended{Separator: v.Declared.Separator, Text: v.Value.AsString(), Absent: !set}
	switch j := have.joins; {
	case set && j == nil:
		x.conflict(have.of.at, "Environment variable taken", "Sidecar %q adds to %s in task %q of group %q (%s), but %s sets its value. Let one of the two leave it out.",
			x.def.Name, v.Name, t.Name, x.state.group.Name, v.Range, have.of)
		return
	case set && j.separator != "" && j.separator != more.Separator:
		x.conflict(j.by.at, "Separators differ", "Sidecar %q adds to %s in task %q of group %q after %q (%s), but %s after %q. Use one separator.",
			x.def.Name, v.Name, t.Name, x.state.group.Name, more.Separator, v.Range, j.by, j.separator)
		return
	case more.Text == "" || more.In(have.text.Value):
		return
	case set:
		more.Absent = j.absent
	}
	edit := &job.SetEnv{Group: x.state.group.Name, Task: t.Name, Name: v.Name, Value: more.To(have.text.Value)}
	if set {
		edit.Appended = &more
	}
	by := x.me()
	if have.joins != nil && have.joins.separator != "" {
		by = have.joins.by
	}
	x.state.env[t.Name][v.Name] = envValue{job.Text{Value: edit.Value, Range: v.Range}, by, &joins{more.Absent, more.Separator, by}}
	x.recordSpelling(t, "Env")
	x.add(edit)
	x.added.Append(t.Name, v.Name, more)
}

func (x *sidecarPlan) blocks(inst *sidecar.Instance) {
	for _, t := range x.state.group.Tasks {
		for _, b := range inst.App {
			key := destinationKey(b.Type, b.Body.String("destination"))
			if of, taken := x.state.destinations[t.Name][key]; taken && b.Body.String("destination") != "" {
				x.conflict(of.at, "Destination taken", "Sidecar %q adds a %s at %q to the app tasks of group %q (%s), but %s already uses that destination. Choose another destination in the sidecar's parameters or in the job.",
					x.def.Name, b.Type, b.Body.String("destination"), x.state.group.Name, b.Range, of)
				continue
			}
			if u := x.state.unknown.destinations[t.Name+"/"+b.Type]; u != nil {
				x.unknown(u, "Whether sidecar %q may add a %s to task %q of group %q", x.def.Name, b.Type, t.Name, x.state.group.Name)
				continue
			}
			x.state.destinations[t.Name][key] = x.me()
			x.recordSpelling(t, job.FieldOf(b.Type))
			x.add(&job.AddAppBlock{Group: x.state.group.Name, Task: t.Name, Block: b})
			x.added.AddBlock(t.Name, b)
		}
	}
}

func (x *sidecarPlan) tasks(inst *sidecar.Instance) {
	g := x.state.group
	for _, t := range inst.Tasks {
		name := t.Label()
		if of, taken := x.state.tasks[envSpelling(name)]; taken {
			x.conflict(of.at, "Task name taken", "Sidecar %q adds a task %q to group %q (%s), but %s of the job already has that name, or one that differs only in dashes. Rename the job's task.",
				x.def.Name, name, g.Name, t.Range, of)
			return
		}
		x.state.tasks[envSpelling(name)] = owner{fmt.Sprintf("task %q of sidecar %q", name, x.def.Name), t.Range}
		x.added.Tasks = append(x.added.Tasks, name)
	}
	x.recordSpelling(nil, "Tasks")
	for i, t := range inst.Tasks {
		mark := &job.Mark{Name: x.def.Name, Version: x.def.Version.String(), Digest: x.def.Digest, Origin: x.choice.Origin}
		if i == 0 {
			mark.Added = x.added
		}
		x.warnInherited(t)
		x.disk(t)
		x.add(&job.AddTask{
			Group: g.Name, Task: x.withAgreed(withLogs(withRestart(t))).WithMeta(mark.Meta()),
			JobInherited: x.job.Inherited, GroupInherited: g.Inherited,
		})
	}
}

// disk applies Nomad's rule that the logs of each task fit on the group's disk
// (structs.Task.Validate).
func (x *sidecarPlan) disk(t *sidecar.Block) {
	disk, logs := x.state.group.Disk, logsOf(t).MaxMB()
	if disk.Unknown != nil && logs > 0 {
		x.unknown(disk.Unknown, "Whether the logs of task %q of sidecar %q fit on the ephemeral disk of group %q", t.Label(), x.def.Name, x.state.group.Name)
		return
	}
	if disk.SizeMB > logs || disk.SizeMB == 0 {
		return
	}
	x.conflict(disk.Range, "Too little disk", "The logs of task %q of sidecar %q (%s) may need %d MB, but the ephemeral disk of group %q has %d MB. Set ephemeral_disk { size = %d } or more in the group.",
		t.Label(), x.def.Name, t.Range, logs, x.state.group.Name, disk.SizeMB, disk.SizeMB+logs)
}

// warnInherited warns about blocks that Nomad's parser copies into every task of the group.
func (x *sidecarPlan) warnInherited(t *sidecar.Block) {
	for _, b := range slices.Concat(x.state.group.Inherited, x.job.Inherited) {
		if b.Type == "vault" && len(t.Body.Blocks("vault")) > 0 {
			continue
		}
		x.conflict(b.Range, "Sidecar inherits "+b.Type, "Nomad gives this %s block to every task of group %q, and so to task %q of sidecar %q. Move it into the tasks that need it if the sidecar should not have it.",
			b.Type, x.state.group.Name, t.Label(), x.def.Name)
		x.diags[len(x.diags)-1].Severity = hcl.DiagWarning
	}
}

// withRestart adds a restart block to a sidecar task without one. Otherwise the group's block
// would apply, and in a group without restarts a failing sidecar would end the group
// (nomad#12250). Mode delay keeps the app alive.
func withRestart(t *sidecar.Block) *sidecar.Block {
	_, stays := lifecycleOf(t)
	if !stays || len(t.Body.Blocks("restart")) > 0 {
		return t
	}
	restart := &sidecar.Block{Type: "restart", Range: t.Range, Body: sidecar.Body{
		&sidecar.Attr{Name: "attempts", Value: cty.NumberIntVal(3)},
		&sidecar.Attr{Name: "interval", Value: cty.StringVal("1m")},
		&sidecar.Attr{Name: "delay", Value: cty.StringVal("5s")},
		&sidecar.Attr{Name: "mode", Value: cty.StringVal("delay")},
	}}
	return &sidecar.Block{Type: t.Type, Labels: t.Labels, Range: t.Range, Body: append(slices.Clone(t.Body), restart)}
}

func quotedOr(words []string) string {
	out := make([]string, 0, len(words))
	for _, w := range words {
		out = append(out, fmt.Sprintf("%q", w))
	}
	return strings.Join(out, " or ")
}

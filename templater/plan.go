package templater

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// PodDriver is the task driver with a config that the templater may change.
const PodDriver = "pod"

// Plan computes the edits for the choices, in the order to apply them. An edit that would change
// or conflict with the user's own configuration is an error that names both sides; with an
// error there are no edits.
func Plan(j *job.Job, choices []*Choice) ([]job.Edit, hcl.Diagnostics) {
	return newPlanner(j, choices).plan(choices, Flags{})
}

func newPlanner(j *job.Job, choices []*Choice) *planner {
	p := &planner{job: j, last: map[*job.Group]*Choice{}, set: map[*job.Group][]job.DefaultValue{}, named: map[string][]*job.Group{}, choices: map[*job.Group]map[string]*Choice{}}
	for _, c := range choices {
		p.last[c.Group] = c
		if p.choices[c.Group] == nil {
			p.choices[c.Group] = map[string]*Choice{}
		}
		p.choices[c.Group][c.Definition.Name] = c
	}
	for _, g := range j.Groups {
		p.named[g.Name] = append(p.named[g.Name], g)
	}
	return p
}

// plan adds the edits for the choices, and returns all edits.
func (p *planner) plan(choices []*Choice, flags Flags) ([]job.Edit, hcl.Diagnostics) {
	groups := map[*job.Group]*groupState{}
	p.kept = flags.Kept
	for _, c := range choices {
		st := groups[c.Group]
		if st == nil {
			st = newGroupState(c.Group)
			p.takeDefaults(st, flags)
			groups[c.Group] = st
			if p.refuse(c) {
				st.refused = true
			}
		}
		if !st.refused {
			p.inject(st, c)
		}
		if d := flags.late(c.Group); d != nil {
			p.diags = append(p.diags, d)
			break
		}
		if p.added > bounds.AddedBytes {
			p.conflict(c.Range, "Injected job too large", "Up to sidecar %q of group %q the sidecars add more than %d MiB to the job, the limit. Split the job, or shorten the values of parameters.", c.Definition.Name, c.Group.Name, bounds.AddedBytes>>20)
			break
		}
	}
	if p.diags.HasErrors() {
		return nil, p.diags
	}
	return p.edits, p.diags
}

type planner struct {
	job  *job.Job
	last map[*job.Group]*Choice // of each group
	// choices are the choices of each group by name.
	choices map[*job.Group]map[string]*Choice
	kept    []job.Marked // of Flags
	set     map[*job.Group][]job.DefaultValue
	named   map[string][]*job.Group
	edits   []job.Edit
	added   int // bytes
	diags   hcl.Diagnostics
}

func (p *planner) add(e job.Edit) { p.edits = append(p.edits, e) }

// conflict reports an error about the user's configuration at a range. Its text states the
// sidecar's need and how to fix the conflict.
func (p *planner) conflict(at hcl.Range, summary, format string, args ...any) {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...)}
	if at != (hcl.Range{}) {
		d.Subject = at.Ptr()
	}
	p.diags = append(p.diags, d)
}

// refuse reports obstacles to any change of a group.
func (p *planner) refuse(c *Choice) bool {
	before := len(p.diags)
	for _, o := range c.Group.Opaque {
		p.diags = append(p.diags, o.Error(fmt.Sprintf("Sidecar %q was chosen for group %q, but it has", c.Definition.Name, c.Group.Name)))
	}
	if g := c.Group; len(p.diags) == before && len(g.Tasks)+len(g.Proxies) == 0 && !slices.ContainsFunc(g.Services, func(s job.Service) bool { return s.Connect }) {
		// With a sidecar's task, Nomad would accept the group.
		p.conflict(g.Range, "Group without a task", "Sidecar %q was chosen for group %q, but the group has no task of its own, which Nomad refuses. Add its task.", c.Definition.Name, g.Name)
	}
	p.refuseTwins(c.Group)
	for _, t := range slices.Concat(c.Group.Tasks, c.Group.Proxies) {
		if t.Kind.Unknown != nil {
			p.unknown(t.Kind.Unknown, "Whether task %q of group %q is an app task", t.Name, c.Group.Name)
		}
		if u := cmp.Or(t.MoreMeta, t.Meta[job.MarkName].Unknown); u != nil {
			p.unknown(u, "Whether task %q of group %q carries the marks of a sidecar", t.Name, c.Group.Name)
			continue
		}
		if d := unrecognized(c.Group, t); d != nil {
			p.diags = append(p.diags, d)
		}
	}
	return len(p.diags) > before
}

// refuseTwins reports duplicate names of groups and tasks, since edits go by name. Nomad refuses
// such a job as well (structs.Job.Validate).
func (p *planner) refuseTwins(g *job.Group) {
	const text = "There are two %s called %q%s, the other at %s. Rename one of the two."
	for _, o := range p.named[g.Name] {
		if o != g {
			p.conflict(g.Range, "Duplicate name", text, "groups", g.Name, "", o.Range)
			return
		}
	}
	seen := map[string]*job.Task{}
	for _, t := range slices.Concat(g.Tasks, g.Proxies) {
		if first := seen[t.Name]; first != nil {
			p.conflict(t.Range, "Duplicate name", text, "tasks", t.Name, fmt.Sprintf(" in group %q", g.Name), first.Range)
			return
		}
		seen[t.Name] = t
	}
}

func (p *planner) inject(st *groupState, c *Choice) {
	scope, diags := p.scope(c)
	p.diags = append(p.diags, diags...)
	if diags.HasErrors() {
		return
	}
	inst, diags := c.Definition.Evaluate(scope, c.Values)
	p.diags = append(p.diags, diags...)
	if diags.HasErrors() {
		return
	}
	p.added += inst.Size(len(c.Group.Tasks))
	if len(inst.Tasks) == 0 {
		p.conflict(c.Range, "No task to inject", "With these parameters sidecar %q (%s) adds no task to group %q, so its changes there could not be recorded. Enable one of its tasks, or do not choose it.",
			c.Definition.Name, c.Definition.Range, c.Group.Name)
		return
	}
	x := &sidecarPlan{planner: p, state: st, choice: c, def: c.Definition, added: &job.Added{}}
	if !x.network(inst) {
		return
	}
	x.ports(inst)
	x.volumes(inst)
	x.services(inst)
	x.env(inst)
	x.share()
	x.restartWith(inst)
	x.config(inst)
	if p.last[c.Group] == c {
		x.logs()
	}
	x.blocks(inst)
	x.tasks(inst)
}

// unknown reports a dependency on an unknown value of the job.
func (p *planner) unknown(u *diagnostic.Unknown, format string, args ...any) {
	p.diags = append(p.diags, u.Error(fmt.Sprintf(format, args...)))
}

// scope returns the scope of a choice, with the outputs that its definition uses.
func (p *planner) scope(c *Choice) (sidecar.Scope, hcl.Diagnostics) {
	scope := scopeOf(p.job, c.Group)
	scope.Sensitive, scope.Outputs = c.Sensitive, map[string]map[string]sidecar.Result{}
	scope.Absent = map[string]string{}
	for _, ref := range c.Definition.Uses() {
		of := p.choices[c.Group][ref.Sidecar]
		if of == nil {
			if slices.ContainsFunc(p.kept, func(m job.Marked) bool { return m.Group == c.Group.Name && m.Mark.Name == ref.Sidecar }) {
				scope.Absent[ref.Sidecar] = whyKept(Flags{Kept: p.kept}, c.Group.Name, ref.Sidecar)
			}
			continue // an error of the expression, unless it tries
		}
		if !slices.Contains(of.Definition.OutputNames(), ref.Output) {
			return scope, hcl.Diagnostics{of.Definition.NoOutput(ref)}
		}
		if of.Outputs == nil {
			if diags := of.evaluateOutputs(p.job); diags.HasErrors() {
				return scope, diags
			}
		}
		scope.Outputs[ref.Sidecar] = of.Outputs
	}
	return scope, nil
}

// scopeOf returns what expressions of definitions know of a group.
func scopeOf(j *job.Job, g *job.Group) sidecar.Scope {
	unknown := map[string]*diagnostic.Unknown{}
	note := func(name string, u *diagnostic.Unknown) {
		if u != nil {
			unknown[name] = u
		}
	}
	for name, t := range map[string]job.Text{"job.id": j.ID, "job.name": j.Name, "job.namespace": j.Namespace, "job.type": j.Type, "job.region": j.Region} {
		note(name, t.Unknown)
	}
	note("job.meta", j.MoreMeta)
	note("group.meta", g.MoreMeta)
	note("group.count", g.UnknownCount)
	return sidecar.Scope{
		JobID: j.ID.Value, JobName: j.Name.Value, Namespace: j.Namespace.Value, JobType: j.Type.Value, Region: j.Region.Value,
		JobMeta: plain(j.Meta, "job.meta.", note), GroupName: g.Name, Count: g.Count, GroupMeta: plain(g.Meta, "group.meta.", note),
		AppTasks: g.TaskNames(), Unknown: unknown,
	}
}

// plain returns the known part of meta, and passes the reasons for the rest to note.
func plain(m map[string]job.Text, prefix string, note func(string, *diagnostic.Unknown)) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if note(prefix+k, v.Unknown); v.Unknown == nil {
			out[k] = v.Value
		}
	}
	return out
}

// owner is the owner of a name: the user or an earlier sidecar.
type owner struct {
	who string
	at  hcl.Range
}

func (o owner) String() string {
	if o.at == (hcl.Range{}) {
		return o.who
	}
	return fmt.Sprintf("%s (%s)", o.who, o.at)
}

// groupState is the content of a group, with the edits planned so far.
type groupState struct {
	group        *job.Group
	refused      bool
	tasks        map[string]owner // by name as in environment variables
	ports        map[string]owner // by label as in environment variables
	inside       map[int]owner    // ports inside the pod
	env          map[string]map[string]envValue
	config       map[string]map[string]cty.Value
	volumes      map[string]owner
	destinations map[string]map[string]owner // of templates and mounts, by task and destination
	service      map[string]owner            // name and port
	// provider of the group's services, "" if it has none yet.
	provider   string
	providerOf owner
	unknown    unknowns
	// recorded are the containers with an added item, as "task/field".
	recorded map[string]bool
}

// unknowns are the reasons why parts of a group are unknown; nil for a known part.
type unknowns struct {
	inside, services *diagnostic.Unknown
	env              map[string]*diagnostic.Unknown // by task: other variables
	destinations     map[string]*diagnostic.Unknown // by task and type of block: destinations
}

type envValue struct {
	text job.Text
	of   owner
	// joins is how sidecars add to the variable; nil for one with a value that is set.
	joins *joins
}

// joins is how sidecars add texts to a variable of a task.
type joins struct {
	absent    bool   // the task has no such variable of its own
	separator string // of the first that adds, by "" if none has
	by        owner
}

func newGroupState(g *job.Group) *groupState {
	st := &groupState{
		group: g, tasks: map[string]owner{}, ports: map[string]owner{}, inside: map[int]owner{},
		env: map[string]map[string]envValue{}, config: map[string]map[string]cty.Value{},
		volumes: map[string]owner{}, service: map[string]owner{}, destinations: map[string]map[string]owner{},
		recorded: map[string]bool{},
		unknown:  unknowns{env: map[string]*diagnostic.Unknown{}, destinations: map[string]*diagnostic.Unknown{}},
	}
	for _, n := range g.Networks {
		for _, port := range n.Ports {
			st.port(port, "the group's network")
		}
	}
	for _, t := range g.Tasks {
		st.tasks[envSpelling(t.Name)] = owner{fmt.Sprintf("task %q", t.Name), t.Range}
		for _, port := range t.Ports {
			st.port(port, fmt.Sprintf("task %q", t.Name))
		}
		st.env[t.Name], st.config[t.Name] = map[string]envValue{}, map[string]cty.Value{}
		st.destinations[t.Name] = map[string]owner{}
		for _, at := range t.Destinations {
			if at.Path.Unknown != nil {
				st.unknown.destinations[t.Name+"/"+at.Block] = at.Path.Unknown
				continue
			}
			st.destinations[t.Name][destinationKey(at.Block, at.Path.Value)] = owner{fmt.Sprintf("task %q", t.Name), at.Range}
		}
		st.unknown.env[t.Name] = t.MoreEnv
		for k, v := range t.Env {
			st.env[t.Name][k] = envValue{v, owner{fmt.Sprintf("task %q", t.Name), v.Range}, &joins{}}
		}
		for k, v := range t.Config {
			st.config[t.Name][k] = v.Value
		}
	}
	for _, t := range g.Proxies {
		st.tasks[envSpelling(t.Name)] = owner{fmt.Sprintf("task %q", t.Name), t.Range}
		for _, port := range t.Ports {
			st.port(port, fmt.Sprintf("task %q", t.Name))
		}
	}
	for _, t := range g.Kept {
		st.tasks[envSpelling(t.Name)] = owner{fmt.Sprintf("sidecar task %q", t.Name), t.Range}
	}
	for name, at := range g.Volumes {
		st.volumes[name] = owner{"the group", at}
	}
	for _, s := range g.Services {
		of := owner{fmt.Sprintf("service %q", s.Name.Value), s.Range}
		st.unknown.services = cmp.Or(st.unknown.services, s.Provider.Unknown, s.Name.Unknown, s.Port.Unknown)
		st.service[s.Name.Value+"\x00"+s.Port.Value] = of
		if st.provider == "" {
			st.provider, st.providerOf = s.Provider.Value, of
		}
	}
	return st
}

func destinationKey(block, destination string) string { return block + " " + path.Clean(destination) }

func (st *groupState) port(port job.Port, who string) {
	of := owner{fmt.Sprintf("port %q of %s", port.Label, who), port.Range}
	st.ports[envSpelling(port.Label)] = of
	// Without "to", a port has the same number inside: structs.NetworkResource.
	st.unknown.inside = cmp.Or(st.unknown.inside, port.Unknown)
	inside := port.To
	if inside == 0 && port.Unknown == nil {
		inside = port.Static
	}
	if inside > 0 {
		st.inside[inside] = of
	}
}

package templater

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// ProxyOrder is the driver that a rule of a policy gives to the proxies of a group's services in
// Consul's service mesh.
type ProxyOrder struct {
	Rule   string
	Driver string
	Range  hcl.Range
}

// States of a proxy in a group.
const (
	// StateOwn is a proxy with a driver from the job's author, or one in a group without pod tasks.
	StateOwn = "unchanged"
	// StateSkipped is a proxy of a group with pod tasks that cannot run in their pod.
	StateSkipped = "skipped"
)

// Proxy is the proxy of a service, to which a rule gives a driver: Nomad's servers would choose
// docker.
type Proxy struct {
	Group   *job.Group
	Service *job.Service
	Driver  string
	// Rule and Range are the rule and its position; empty if a proxy keeps the driver that an earlier
	// injection set, and there is no policy.
	Rule  string
	Range hcl.Range
	// State is StateChosen, StateOwn or StateSkipped, and Reason explains the other two.
	State, Reason string

	task *job.Task // that the job has for it, or nil
	host bool      // in the host's network
}

// Proxies returns the proxies of a job to which rules give a driver.
func Proxies(j *job.Job, flags Flags) ([]*Proxy, hcl.Diagnostics) {
	var out []*Proxy
	var diags hcl.Diagnostics
	for _, g := range j.Groups {
		var order *ProxyOrder
		if flags.Policy != nil {
			order = flags.Policy.Proxies(j, g)
		}
		var mesh *meshGroup
		for i := range g.Services {
			s := &g.Services[i]
			kept := flags.Policy == nil && s.Mesh != nil && s.Mesh.Marked
			if s.Mesh == nil || order == nil && !kept {
				continue
			}
			if mesh == nil {
				mesh = newMeshGroup(g)
			}
			p := &Proxy{Group: g, Service: s, Driver: PodDriver, State: StateChosen}
			if order != nil {
				p.Rule, p.Range = order.Rule, order.Range
			}
			if u := p.decide(mesh); u != nil {
				diags = append(diags, p.unknown(u))
				continue
			}
			out = append(out, p)
		}
	}
	return out, diags
}

// meshGroup holds the facts about a group that the drivers of all its proxies depend on.
type meshGroup struct {
	unknown *diagnostic.Unknown
	// podless means that the group has tasks, none of which uses the pod driver.
	podless bool
	// obstacle is the reason why no proxy can run in the group's pod, or "".
	obstacle string
	// host means that the group is in the host's network, where Nomad allows only gateways.
	host  bool
	tasks map[string]*job.Task // the proxies' own, by kind
}

func newMeshGroup(g *job.Group) *meshGroup {
	m := &meshGroup{unknown: cmp.Or(g.MoreTasks, g.MoreNetworks), tasks: map[string]*job.Task{}}
	for _, t := range g.Proxies {
		m.tasks[t.Kind.Value] = t
		m.unknown = cmp.Or(m.unknown, t.Driver.Unknown)
	}
	own := slices.Concat(g.Tasks, g.Kept)
	m.podless = len(own) > 0 && !slices.ContainsFunc(own, func(t *job.Task) bool { return t.Driver.Value == PodDriver })
	for _, t := range own {
		m.unknown = cmp.Or(m.unknown, t.Driver.Unknown, t.Kind.Unknown)
		if t.Driver.Value != PodDriver && m.obstacle == "" {
			m.obstacle = fmt.Sprintf("task %q of the group has driver %q, and tasks of different drivers share no pod", t.Name, t.Driver.Value)
		}
	}
	if len(g.Networks) == 0 {
		m.obstacle = "the group has no network block, which Nomad requires"
	}
	for _, n := range g.Networks {
		m.unknown = cmp.Or(m.unknown, n.Mode.Unknown)
		if n.Mode.Value == "host" {
			m.host = true
			continue
		}
		if n.Mode.Value != "bridge" && !strings.HasPrefix(n.Mode.Value, "cni/") {
			m.obstacle = fmt.Sprintf("the group's network has mode %q, not \"bridge\", \"host\" or \"cni/…\"", n.Mode.Value)
		}
	}
	return m
}

// decide sets State and Reason, unless they depend on an unknown value, which it returns.
func (p *Proxy) decide(g *meshGroup) *diagnostic.Unknown {
	m := p.Service.Mesh
	if g.podless && g.unknown == nil {
		p.State, p.Reason = StateOwn, fmt.Sprintf("no task of the group has driver %q", PodDriver)
		return nil
	}
	if u := cmp.Or(m.Unknown, m.Driver.Unknown); u != nil {
		return u
	}
	if m.Driver.Value != "" {
		p.State, p.Reason = StateOwn, fmt.Sprintf("its sidecar_task has driver %q", m.Driver.Value)
		return nil
	}
	if u := cmp.Or(m.MoreConfig, g.unknown); u != nil {
		return u
	}
	if u := p.Service.Name.Unknown; u != nil && len(g.tasks) > 0 {
		return u // which of them is its task
	}
	p.task, p.host = g.tasks[m.Kind+":"+p.Service.Name.Value], g.host
	switch t := p.task; {
	case g.obstacle != "":
		p.State, p.Reason = StateSkipped, g.obstacle
	case g.host && !m.Gateway():
		p.State, p.Reason = StateSkipped, "the group's network has mode \"host\", in which Nomad allows only gateways"
	case t != nil && !t.ProxyMark && t.Driver.Value != job.ProxyDriver:
		p.State, p.Reason = StateOwn, fmt.Sprintf("its task %q has driver %q", t.Name, t.Driver.Value)
	}
	return nil
}

// opaqueMesh reports whether a connect block of a group cannot be edited in this form.
func opaqueMesh(g *job.Group) bool {
	return slices.ContainsFunc(g.Services, func(s job.Service) bool { return s.Mesh != nil && len(s.Mesh.Opaque) > 0 })
}

func (p *Proxy) unknown(u *diagnostic.Unknown) *hcl.Diagnostic {
	return u.Error(fmt.Sprintf("The driver of the proxy for service %q of group %q, which %s sets to %q,", p.Service.Name, p.Group.Name, p.by(), p.Driver))
}

// Source returns what gives the proxy its driver.
func (p *Proxy) Source() Source { return Source{OriginPolicy, p.Range} }

// by names what gives the proxy its driver.
func (p *Proxy) by() string {
	if p.Rule == "" {
		return "an earlier injection"
	}
	return fmt.Sprintf("rule %q of the policy", p.Rule)
}

// warning reports a skipped proxy.
func (p *Proxy) warning() *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Proxy keeps its driver", Detail: fmt.Sprintf(
		"By %s the proxy of service %q in group %q would run under driver %q, but %s. Nomad chooses its driver, usually %s; set driver in its sidecar_task to choose another.",
		p.by(), p.Service.Name, p.Group.Name, p.Driver, p.Reason, job.ProxyDriver)}
	if p.Service.Range != (hcl.Range{}) {
		d.Subject = p.Service.Range.Ptr()
	}
	return d
}

// edit returns the edit for a chosen proxy.
func (p *Proxy) edit() *job.SetProxy {
	m := p.Service.Mesh
	e := &job.SetProxy{Group: p.Group.Name, Service: p.Service, Driver: p.Driver, Mark: &job.MeshMark{Task: !m.HasTask}}
	for _, s := range job.ProxyConfig(m.Gateway(), p.host) {
		if !slices.Contains(m.Config, s.Name) {
			e.Config = append(e.Config, s)
			e.Mark.Config = append(e.Mark.Config, s.Name)
		}
	}
	if p.task != nil {
		e.Task = p.task.Name
	}
	if m.Mark != nil { // whatever a newer server has added since
		e.Mark.Task, e.Mark.Bare = m.Mark.Task, m.Mark.Bare
		return e
	}
	spelt := job.Bare{}
	for _, name := range []string{"Config", "Meta", "Driver"} {
		if m.HasTask && m.Bare[name] != "" {
			spelt[name] = m.Bare[name]
		}
	}
	if name := "SidecarTask"; !m.HasTask && m.Bare[name] != "" {
		spelt[name] = m.Bare[name]
	}
	if p.task != nil && p.task.Bare["Meta"] != "" {
		spelt["Proxy.Meta"] = p.task.Bare["Meta"]
	}
	if len(spelt) > 0 {
		e.Mark.Bare = spelt
	}
	return e
}

// planProxies returns the edits for the chosen proxies.
func planProxies(proxies []*Proxy) ([]job.Edit, hcl.Diagnostics) {
	var edits []job.Edit
	var diags hcl.Diagnostics
	for _, p := range proxies {
		if p.State == StateSkipped {
			diags = append(diags, p.warning())
		}
		if p.State != StateChosen {
			continue
		}
		if len(edits) == bounds.Sidecars {
			return nil, append(diags, diagnostic.Error(p.Group.Range, "Too many proxies", fmt.Sprintf("Up to group %q %s gives a driver to more than %d proxies, the limit. Split the job.", p.Group.Name, p.by(), bounds.Sidecars)))
		}
		for _, o := range slices.Concat(p.Group.Opaque, p.Service.Mesh.Opaque) {
			diags = append(diags, o.Error(fmt.Sprintf("By %s the proxy of service %q in group %q runs under driver %q, but the group has", p.by(), p.Service.Name, p.Group.Name, p.Driver)))
		}
		edits = append(edits, p.edit())
	}
	return edits, diags
}

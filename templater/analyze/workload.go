package analyze

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// workload is a job with its sidecars, as far as the checks need it.
type workload struct {
	Type   value[string]
	Canary value[int]
	Groups []*group
}

type group struct {
	Name     string
	Networks []*network
	// More reports that there may be other networks, and Partial that there may be other tasks or
	// services.
	More, Partial bool
	Tasks         []*task
	byName        map[string]*task
	Services      []*service
	Delay         value[time.Duration]
	RestartMode   value[string]
	Canary        value[int]
	Node          *job.Node
}

// network is a network of a group. Partial means that there may be other ports.
type network struct {
	Mode, Hostname value[string]
	Ports          []*port
	Partial        bool
	Range          hcl.Range
}

type port struct {
	Label       string
	To, Static  value[int]
	HostNetwork value[string]
	Range       hcl.Range
}

// service is a service of a group, or of a task: then owner is set.
type service struct {
	Name, Port, Mode, Address, Task value[string]
	// Mesh reports a connect block of any kind, Gateway or Native of that kind.
	Mesh, Native, Gateway bool
	Checks                []*check
	Partial               bool // there may be other checks
	owner                 *task
	Range                 hcl.Range
}

type check struct {
	Name, Type, Port, Mode value[string]
	Expose                 value[bool]
	Range                  hcl.Range
}

type task struct {
	Name         string
	Driver, Kind value[string]
	Hook         value[string]
	Sidecar      value[bool]
	Leader       value[bool]
	Restart      bool // it has or may have a restart block
	Kill, Delay  value[time.Duration]
	Memory, Max  value[int]
	Config       *config
	After        []string // the known ones of the pod driver's after
	Ports        []*port  // of its own networks
	PortsMore    bool
	Files        []file
	Vault        bool // it has or may have a vault block
	Logs         *job.Node
	// Origin is the name of the sidecar that it belongs to, or "".
	Origin string
	Node   *job.Node
	Range  hcl.Range
}

// file is a file that a template or artifact writes.
type file struct {
	Block       string
	Destination value[string]
	Data        value[string]
	Delimiter   value[string]
	Env         value[bool]
	Source      bool // the data of a template comes from a file
	Range       hcl.Range
}

func newWorkload(root *job.Node) *workload {
	w := &workload{Type: read(root, "type", toText), Canary: read(root.First("update"), "canary", toNumber)}
	groups, _ := root.All("group")
	for _, n := range groups {
		w.Groups = append(w.Groups, newGroup(n))
	}
	return w
}

// serves reports whether the job is known to run until it is stopped.
func (w *workload) serves() bool {
	kind := w.Type.Or("service")
	return kind == "service" || kind == "system"
}

func newGroup(n *job.Node) *group {
	g := &group{
		Name: n.Label(), Delay: read(n, "shutdown_delay", toDuration), RestartMode: read(n.First("restart"), "mode", toText),
		Canary: read(n.First("update"), "canary", toNumber), Node: n, byName: map[string]*task{},
	}
	networks, complete := n.All("network")
	g.More = !complete
	for _, b := range networks {
		g.Networks = append(g.Networks, newNetwork(b))
	}
	services, complete := n.All("service")
	g.Partial = !complete
	for _, b := range services {
		g.Services = append(g.Services, newService(b, nil))
	}
	tasks, complete := n.All("task")
	g.Partial = g.Partial || !complete
	for _, b := range tasks {
		t := newTask(b)
		g.Tasks = append(g.Tasks, t)
		g.byName[t.Name] = t
		services, complete := b.All("service")
		g.Partial = g.Partial || !complete
		for _, s := range services {
			g.Services = append(g.Services, newService(s, t))
		}
	}
	return g
}

func newNetwork(n *job.Node) *network {
	out := &network{Mode: read(n, "mode", toText), Hostname: read(n, "hostname", toRaw), Range: n.Range}
	out.Ports, out.Partial = ports(n)
	return out
}

func ports(n *job.Node) (out []*port, partial bool) {
	all, complete := n.All("port")
	for _, p := range all {
		out = append(out, &port{
			Label: p.Label(), To: read(p, "to", toNumber), Static: read(p, "static", toNumber),
			HostNetwork: read(p, "host_network", toText), Range: p.Range,
		})
	}
	return out, !complete
}

func newService(n *job.Node, owner *task) *service {
	s := &service{
		Name: read(n, "name", toRaw), Port: read(n, "port", toText), Mode: read(n, "address_mode", toText),
		Address: read(n, "address", toRaw), Task: read(n, "task", toText), owner: owner, Range: n.Range,
	}
	connect := n.First("connect")
	s.Mesh = connect != nil || n.More["connect"] != nil
	s.Gateway = connect.First("gateway") != nil
	s.Native = read(connect, "native", toBool).V
	checks, complete := n.All("check")
	s.Partial = !complete
	for _, c := range checks {
		s.Checks = append(s.Checks, &check{
			Name: read(c, "name", toRaw), Type: read(c, "type", toText), Port: read(c, "port", toText),
			Mode: read(c, "address_mode", toText), Expose: read(c, "expose", toBool), Range: c.Range,
		})
	}
	return s
}

func newTask(n *job.Node) *task {
	lifecycle, resources := n.First("lifecycle"), n.First("resources")
	t := &task{
		Name: n.Label(), Driver: read(n, "driver", toText), Kind: read(n, "kind", toText),
		Hook: read(lifecycle, "hook", toText), Sidecar: read(lifecycle, "sidecar", toBool),
		Leader: read(n, "leader", toBool), Kill: read(n, "kill_timeout", toDuration), Delay: read(n, "shutdown_delay", toDuration),
		Memory: read(resources, "memory", toNumber), Max: read(resources, "memory_max", toNumber),
		Config: &config{n.First("config")}, Logs: n.First("logs"), Node: n, Range: n.Range,
	}
	for _, e := range t.Config.list("after").V {
		if e.Known && e.V != "" {
			t.After = append(t.After, e.V)
		}
	}
	if n.More["lifecycle"] != nil {
		t.Hook.Set, t.Sidecar.Set = true, true
	}
	if n.More["resources"] != nil {
		t.Memory.Set, t.Max.Set = true, true
	}
	t.Restart = n.First("restart") != nil || n.More["restart"] != nil
	t.Vault = n.First("vault") != nil || n.More["vault"] != nil
	t.Origin = read(n.First("meta"), job.MarkName, toText).V
	networks, complete := resources.All("network")
	t.PortsMore = !complete || n.More["resources"] != nil
	for _, b := range networks {
		own, partial := ports(b)
		t.Ports, t.PortsMore = append(t.Ports, own...), t.PortsMore || partial
	}
	for _, typ := range []string{"template", "artifact"} {
		all, _ := n.All(typ)
		for _, b := range all {
			t.Files = append(t.Files, file{
				Block: typ, Destination: read(b, "destination", toRaw), Data: read(b, "data", toRaw),
				Delimiter: read(b, "left_delimiter", toRaw), Env: read(b, "env", toBool), Source: read(b, "source", toRaw).Set, Range: b.Range,
			})
		}
	}
	return t
}

// isPod reports whether the driver is known to be pod.
func (t *task) isPod() bool { return t.Driver.Known && t.Driver.V == "pod" }

// in reports whether the driver is known to be one of names.
func (t *task) in(names ...string) bool {
	for _, name := range names {
		if t.Driver.Known && t.Driver.V == name {
			return true
		}
	}
	return false
}

// isProxy reports whether Nomad's servers wrote the task.
func (t *task) isProxy() bool { return job.IsProxy(t.Kind.V) }

// title names the task in a sentence.
func (t *task) title() string { return quoted("task", t.Name) }

// ownMode returns the network mode of a group if it is known: "host", "bridge", "none"
// or "cni/NAME".
func (g *group) ownMode() (mode string, known bool) {
	if g.More || len(g.Networks) > 1 {
		return "", false
	}
	if len(g.Networks) == 0 {
		return "host", true
	}
	m := g.Networks[0].Mode
	return m.Or("host"), !m.Unknown()
}

// isolated reports whether all tasks of the group are known to be in a network namespace of the
// group. Other drivers may ignore that namespace, and docker's network_mode replaces it.
func (g *group) isolated() bool {
	mode, known := g.ownMode()
	if !known || g.Partial || mode != "bridge" && !strings.HasPrefix(mode, "cni/") {
		return false
	}
	return !slices.ContainsFunc(g.Tasks, func(t *task) bool {
		return !t.in("docker", "podman", "pod", "exec", "exec2", "raw_exec", "java") || t.Config.may("network_mode")
	})
}

// labels returns the ports of the group and its tasks. known is false if there may be others.
func (g *group) labels() (out map[string]*port, known bool) {
	out, known = map[string]*port{}, !g.More && !g.Partial
	for _, n := range g.Networks {
		known = known && !n.Partial
		for _, p := range n.Ports {
			out[p.Label] = p
		}
	}
	for _, t := range g.Tasks {
		known = known && !t.PortsMore
		for _, p := range t.Ports {
			out[p.Label] = p
		}
	}
	return out, known
}

// groupPorts returns the ports of the group's networks.
func (g *group) groupPorts() []*port {
	var out []*port
	for _, n := range g.Networks {
		out = append(out, n.Ports...)
	}
	return out
}

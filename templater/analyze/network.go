package analyze

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/hashicorp/hcl/v2"
)

// network checks the ports and services of the group.
func (c *checker) network(w *workload) {
	c.references()
	c.literals()
	c.clashes()
	c.unmapped()
	c.unpublished()
	c.portMaps()
	c.variables()
	for _, s := range c.group.Services {
		if len(s.Checks) == 0 && !s.Partial && !s.Native && !s.Gateway && s.Port.Set && w.serves() {
			c.report("NS1018", s.owner, s.Range, s.Name.V, c.group.Name)
		}
	}
}

// isNumber reports whether a port is a number instead of a label.
func isNumber(port string) bool { n, err := strconv.Atoi(port); return err == nil && n > 0 }

// references finds labels that no network declares.
func (c *checker) references() {
	labels, known := c.group.labels()
	if !known {
		return
	}
	undeclared := func(v value[string], t *task, at hcl.Range, subject string) {
		if _, declared := labels[v.V]; v.Known && v.V != "" && !declared && !isNumber(v.V) && !c.portMap.declares(v.V) {
			c.report("NS1010", t, at, subject, v.V, c.group.Name, suggest(v.V, labels))
		}
	}
	for _, s := range c.group.Services {
		undeclared(s.Port, s.owner, s.Port.Range, s.title())
		for _, k := range s.Checks {
			undeclared(k.Port, s.owner, k.Port.Range, k.title(s))
		}
	}
	c.publishing()
}

// publishing finds labels in the ports of a task's config. Docker and podman ignore these in a network
// of the group.
func (c *checker) publishing() {
	mode, known := c.group.ownMode()
	shared := map[string]*port{}
	for _, p := range c.group.groupPorts() {
		shared[p.Label] = p
	}
	for _, t := range c.group.Tasks {
		maps := t.in("docker", "podman") && known && mode == "host" && len(shared) > 0
		if !maps && !t.isPod() {
			continue
		}
		for _, e := range t.Config.list("ports").V {
			if _, declared := shared[e.V]; e.Known && e.V != "" && !declared {
				s, _ := t.Config.get("ports")
				c.report("NS1010", t, s.Range, t.title(), e.V, c.group.Name, suggest(e.V, shared))
			}
		}
	}
}

// portMap are the labels that docker tasks declare in port_map.
type portMap struct {
	labels map[string]bool
	any    bool // there may be others
	mesh   bool // the group has a service with connect
}

func newPortMap(g *group) portMap {
	out := portMap{labels: map[string]bool{}}
	for _, t := range g.Tasks {
		if !t.Config.may("port_map") {
			out.any = out.any || !t.Driver.Known
			continue
		}
		maps, known := t.Config.blocks("port_map")
		out.any = out.any || !known
		for _, m := range maps {
			for label := range m.Attrs {
				out.labels[label] = true
			}
		}
	}
	out.mesh = slices.ContainsFunc(g.Services, func(s *service) bool { return s.Mesh })
	return out
}

// declares reports whether a label may be in port_map, or belong to a port that Nomad adds to the group
// for a proxy or gateway, or for a check with expose.
func (m portMap) declares(label string) bool {
	added := strings.HasPrefix(label, "connect-") || strings.HasPrefix(label, "svc_")
	return m.any || m.labels[label] || m.mesh && added
}

func (s *service) title() string { return quoted("service", s.Name.V) }

func (k *check) title(s *service) string {
	if k.Name.V == "" {
		return "a check of " + s.title()
	}
	return fmt.Sprintf("check %q of %s", k.Name.V, s.title())
}

// requiresPort reports whether the check is known to connect to a port.
func (k *check) requiresPort() bool {
	return k.Type.Known && slices.Contains([]string{"http", "tcp", "grpc"}, strings.ToLower(k.Type.V))
}

// literals finds services and checks at ports of the host that nothing maps into the pod.
func (c *checker) literals() {
	labels, known := c.group.labels()
	if !known || !c.group.isolated() {
		return
	}
	static := map[string]bool{}
	for _, p := range labels {
		if p.Static.Unknown() {
			return
		}
		static[strconv.Itoa(p.Static.V)] = true
	}
	atHost := func(n value[string]) bool {
		_, declared := labels[n.V]
		return !declared && n.Known && isNumber(n.V) && !static[n.V]
	}
	number := func(n value[string]) int { i, _ := strconv.Atoi(n.V); return i }
	for _, s := range c.group.Services {
		mode := s.Mode.Or("auto")
		if !s.Mesh && !s.Address.Set && !s.Mode.Unknown() && (mode == "auto" || mode == "host") && atHost(s.Port) {
			c.report("NS1011", s.owner, s.Port.Range, s.title(), number(s.Port), c.group.Name)
			continue // so do its checks
		}
		for _, k := range s.Checks {
			port := k.Port
			if !port.Set {
				port = s.Port
			}
			if k.requiresPort() && !k.Expose.V && !k.Expose.Unknown() && !k.Mode.Unknown() && k.Mode.Or("host") == "host" && !s.Address.Set && atHost(port) {
				c.report("NS1011", s.owner, k.Range, k.title(s), number(port), c.group.Name)
			}
		}
	}
}

// inside returns the port inside the network of the group; 0 if it is not known or dynamic.
func (p *port) inside() int {
	if p.To.Unknown() || p.Static.Unknown() {
		return 0
	}
	if p.To.V > 0 {
		return p.To.V
	}
	if p.To.V < 0 {
		return 0
	}
	return p.Static.V
}

// clashes finds ports with one number inside that belong to different tasks.
func (c *checker) clashes() {
	if !c.group.isolated() {
		return
	}
	owners := map[string]string{}
	for _, s := range c.group.Services {
		switch {
		case !s.Port.Known:
		case s.owner != nil:
			owners[s.Port.V] = s.owner.Name
		case s.Task.Known && s.Task.V != "":
			owners[s.Port.V] = s.Task.V
		}
	}
	for _, t := range c.group.Tasks {
		for _, e := range t.Config.list("ports").V {
			if _, claimed := owners[e.V]; e.Known && !claimed {
				owners[e.V] = t.Name
			}
		}
	}
	first := map[int]*port{}
	for _, p := range c.group.groupPorts() {
		if p.inside() == 0 || owners[p.Label] == "" {
			continue
		}
		o := first[p.inside()]
		if o == nil {
			first[p.inside()] = p
			continue
		}
		if a, b := owners[o.Label], owners[p.Label]; a != b && c.mayClash(a, b) {
			c.report("NS1012", nil, p.Range, o.Label, p.Label, c.group.Name, p.inside(), a, b)
		}
	}
}

// mayClash reports whether two tasks may listen at the same time.
func (c *checker) mayClash(a, b string) bool {
	one, other := c.group.byName[a], c.group.byName[b]
	return one == nil || other == nil || together(one, other)
}

// unmapped finds ports without `to` that no text mentions, and `to` that nothing maps.
func (c *checker) unmapped() {
	mentioned, unmappable := c.mentions(), c.unmappable()
	gateway := slices.ContainsFunc(c.group.Services, func(s *service) bool { return s.Gateway })
	isolated := c.group.isolated()
	for _, p := range c.group.groupPorts() {
		switch {
		case isolated && !gateway && len(c.group.Tasks) > 0 && !p.To.Set && !p.Static.Set && !mentioned.has(p.Label):
			c.report("NS1013", nil, p.Range, p.Label, c.group.Name, p.Label)
		case unmappable && p.To.Known && p.To.V > 0 && !p.Static.Unknown() && p.Static.V != p.To.V:
			listen := "NOMAD_PORT_" + p.Label
			if p.Static.V > 0 {
				listen = strconv.Itoa(p.Static.V)
			}
			c.report("NS1014", nil, p.Range, p.Label, c.group.Name, p.To.V, listen)
		}
	}
}

// unmappable reports whether no driver of the group's tasks maps ports, in the host's network.
func (c *checker) unmappable() bool {
	mode, known := c.group.ownMode()
	return known && mode == "host" && !c.group.Partial && len(c.group.Tasks) > 0 && !slices.ContainsFunc(c.group.Tasks, func(t *task) bool {
		return !t.in("exec", "exec2", "raw_exec", "java", "pod")
	})
}

// unpublished finds ports of services that no docker task of the group publishes.
func (c *checker) unpublished() {
	published, known := c.published()
	if !known {
		return
	}
	declared := map[string]bool{}
	for _, p := range c.group.groupPorts() {
		declared[p.Label] = true
	}
	missing := func(v value[string]) bool { return v.Known && declared[v.V] && !published[v.V] }
	for _, s := range c.group.Services {
		if missing(s.Port) && s.Mode.Or("auto") != "driver" && !s.Mode.Unknown() {
			c.report("NS1015", s.owner, s.Port.Range, s.title(), s.Port.V, c.group.Name)
			continue
		}
		for _, k := range s.Checks {
			if k.requiresPort() && missing(k.Port) && k.Mode.Or("host") == "host" && !k.Mode.Unknown() {
				c.report("NS1015", s.owner, k.Port.Range, k.title(s), k.Port.V, c.group.Name)
			}
		}
	}
}

// portMaps finds port_map in tasks without a network of their own.
func (c *checker) portMaps() {
	for _, t := range c.group.Tasks {
		s, mapped := t.Config.get("port_map")
		if mapped && t.in("docker") && len(t.Ports) == 0 && !t.PortsMore && len(c.group.groupPorts()) > 0 && !t.Config.may("ports") {
			c.report("NS1016", t, s.Range, t.Name, c.group.Name)
		}
	}
}

// published returns the labels that the group's docker tasks publish; known is false if a task may
// listen on a port in another way.
func (c *checker) published() (labels map[string]bool, known bool) {
	mode, known := c.group.ownMode()
	known = known && mode == "host" && !c.group.Partial && len(c.group.Tasks) > 0
	labels = map[string]bool{}
	for _, t := range c.group.Tasks {
		_, mapped := t.Config.get("port_map")
		network, ports := t.Config.text("network_mode"), t.Config.list("ports")
		own := network.Set && !slices.Contains([]string{"bridge", "default"}, network.V)
		if !t.in("docker") || mapped || own || len(t.Ports) > 0 || t.PortsMore || ports.Unknown() || t.Config.partial() {
			known = false
			continue
		}
		for _, e := range ports.V {
			known = known && e.Known
			labels[e.V] = true
		}
	}
	return labels, known
}

// suggest returns " Did you mean …?", or "" if no known name is similar.
func suggest[T any](given string, known map[string]T) string {
	if len(given) > maxName || len(known) > maxName {
		return ""
	}
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if len(k) <= maxName && levenshtein.Distance(given, k, nil) < 3 {
			return fmt.Sprintf(" Did you mean %q?", k)
		}
	}
	return ""
}

package jsonjob

import (
	"cmp"
	"maps"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// readJob reads the parts that injection needs. Absent fields get Nomad's defaults.
func (f *File) readJob() *job.Job {
	j := &job.Job{
		ID:        fieldText(f.job, "ID", ""),
		Name:      fieldText(f.job, "Name", f.job.get("ID").str()),
		Namespace: fieldText(f.job, "Namespace", "default"),
		Type:      fieldText(f.job, "Type", "service"),
		Region:    fieldText(f.job, "Region", "global"),
		NodePool:  fieldText(f.job, "NodePool", "default"),
		Meta:      f.texts(f.job.get("Meta")),
		Written:   f.inherited(), Constraints: f.constraints(f.job, nil),
		// The parser of job files leaves the version out.
		Canonical: f.job.get("Version") != nil,
		Range:     f.at(f.job.start),
	}
	for _, dc := range f.job.get("Datacenters").elements() {
		j.Datacenters = append(j.Datacenters, job.Text{Value: dc.str()})
	}
	if len(j.Datacenters) == 0 {
		j.Datacenters = []job.Text{{Value: "*"}}
	}
	j.TextRefs = f.textRefs()
	for _, r := range f.job.get("Multiregion").get("Regions").elements() {
		j.Regions = append(j.Regions, job.Region{Count: r.get("Count").number()})
	}
	for _, g := range f.job.get("TaskGroups").elements() {
		if g.kind == '{' {
			j.Groups = append(j.Groups, f.group(g))
		}
	}
	return j
}

// fieldText returns a string field of an object, or Nomad's default if it is empty.
func fieldText(n *node, name, otherwise string) job.Text {
	return job.Text{Value: cmp.Or(n.get(name).str(), otherwise)}
}

func (f *File) group(n *node) *job.Group {
	g := &job.Group{
		Name: n.get("Name").str(), Count: cty.NumberIntVal(1), Meta: f.texts(n.get("Meta")),
		Volumes: map[string]hcl.Range{}, Bare: bare(n, "Tasks", "Services", "Volumes", "Constraints", "Meta"), Range: f.at(n.start),
	}
	defaults, stray := f.defaultsOf(n)
	g.Written, g.StrayMark = f.written(n, false, defaults, g.Bare), stray
	f.authors(g.Meta, g.Bare, "Meta", n, "", defaults)
	if g.Constraints = f.constraints(n, defaults); len(g.Constraints) == 0 {
		spell(g.Bare, "Constraints", defaults.Spelt(""))
	}
	g.Disk = job.Disk{SizeMB: job.DefaultDiskMB, Range: g.Range}
	if d := n.get("EphemeralDisk"); d.get("SizeMB") != nil {
		g.Disk = job.Disk{SizeMB: d.get("SizeMB").number(), Range: f.at(d.start)}
	}
	if c := n.get("Count"); c != nil {
		g.Count = cty.NumberIntVal(int64(c.number()))
	}
	for _, net := range n.get("Networks").elements() {
		g.Networks = append(g.Networks, &job.Network{
			Mode: fieldText(net, "Mode", "host"), Ports: f.ports(net), Range: f.at(net.start),
		})
	}
	if nets := n.get("Networks").elements(); len(nets) > 0 {
		maps.Copy(g.Bare, bare(nets[0], "DynamicPorts"))
	}
	g.Services = f.services(nil, n)
	for i, s := range n.get("Services").elements() {
		if g.Services[i].Mesh = f.mesh(s); g.Services[i].Mesh != nil {
			g.Services[i].Mesh.Index = i
		}
	}
	if v := n.get("Volumes"); v != nil {
		for _, it := range v.items {
			g.Volumes[strings.Clone(it.name)] = f.at(it.value.start)
		}
	}
	for _, t := range n.get("Tasks").elements() {
		if t.kind != '{' {
			continue
		}
		g.Services = f.services(g.Services, t)
		if f.kept[t] {
			g.Kept = append(g.Kept, f.task(t, nil))
			continue
		}
		g.Add(f.task(t, defaults))
	}
	return g
}

func (f *File) services(to []job.Service, n *node) []job.Service {
	for _, s := range n.get("Services").elements() {
		connect := s.get("Connect")
		to = append(to, job.Service{
			Name: fieldText(s, "Name", ""), Port: fieldText(s, "PortLabel", ""),
			Provider: fieldText(s, "Provider", "consul"), Connect: connect != nil && connect.kind == '{', Range: f.at(s.start),
		})
	}
	return to
}

func (f *File) ports(network *node) []job.Port {
	var ports []job.Port
	for _, field := range []string{"DynamicPorts", "ReservedPorts"} {
		for _, p := range network.get(field).elements() {
			ports = append(ports, job.Port{
				Label: p.get("Label").str(), To: p.get("To").number(), Static: p.get("Value").number(), Range: f.at(p.start),
			})
		}
	}
	return ports
}

func (f *File) task(n *node, defaults *job.Defaults) *job.Task {
	t := &job.Task{
		Name: n.get("Name").str(), Kind: fieldText(n, "Kind", ""), Driver: fieldText(n, "Driver", ""),
		Env: f.texts(n.get("Env")), Meta: f.texts(n.get("Meta")),
		Config: map[string]job.Setting{}, Range: f.at(n.start),
		Bare: bare(n, "Env", "Config", "Templates", "VolumeMounts", "Meta"),
	}
	if f.proxies[n] {
		t.Driver.Value, t.ProxyMark = podDriver, true
	}
	t.Written, t.Constraints = f.written(n, true, defaults, t.Bare), f.constraints(n, nil)
	f.vaultIdentity(n, t.Written)
	if l := n.get("Lifecycle"); l != nil {
		t.Hook = fieldText(l, "Hook", "")
	}
	if c := n.get("Config"); c != nil {
		for _, it := range c.items {
			t.Config[strings.Clone(it.name)] = job.Setting{Value: toCty(it.value), Range: f.at(it.value.start)}
		}
	}
	if l := n.get("LogConfig"); l != nil {
		t.Logs = &job.Logs{
			Files: l.get("MaxFiles").number(), SizeMB: l.get("MaxFileSizeMB").number(),
			Disabled: l.get("Disabled").isTrue(), Range: f.at(l.start),
		}
	}
	for _, block := range []string{"template", "volume_mount"} {
		for _, b := range n.get(job.FieldOf(block)).elements() {
			t.Destinations = append(t.Destinations, job.Destination{Block: block, Path: job.Text{Value: destination(b)}, Range: f.at(b.start)})
		}
	}
	for _, net := range n.get("Resources").get("Networks").elements() {
		t.Ports = append(t.Ports, f.ports(net)...)
	}
	f.withoutDefaults(t, n, defaults)
	return t
}

// bare finds empty containers that are not null.
func bare(n *node, fields ...string) job.Bare {
	out := job.Bare{}
	for _, field := range fields {
		switch it := n.member(field); {
		case it == nil:
			out[field] = job.BareAbsent
		case it.value.kind != 0 && len(it.value.items) == 0:
			out[field] = job.BareEmpty
		}
	}
	return out
}

func (f *File) texts(n *node) map[string]job.Text {
	out := map[string]job.Text{}
	if n == nil {
		return out
	}
	for _, it := range n.items {
		at := f.at(it.value.start)
		text := job.Text{Value: it.value.str(), Range: at}
		if v := it.value; v.kind != 0 || (v.text[0] != '"' && v.text != "null") {
			text.Unknown = &diagnostic.Unknown{Expr: "a value that is not a string", WayOut: "Write a string.", Invalid: true, Range: at}
		}
		out[strings.Clone(it.name)] = text
	}
	return out
}

// toCty returns the value that cty's own decoder would return, which is several times slower for
// the strings, numbers and lists that most settings are. A value that it cannot read is unknown.
func toCty(n *node) cty.Value {
	switch {
	case n.kind == 0 && n.text[0] == '"':
		return cty.StringVal(n.str())
	case n.kind == 0 && n.text[0] <= '9': // a digit or a minus
		if v, err := cty.ParseNumberVal(n.text); err == nil {
			return v
		}
		return cty.DynamicVal
	case n.kind == '[':
		values := make([]cty.Value, len(n.items))
		for i, it := range n.items {
			values[i] = toCty(it.value)
		}
		return cty.TupleVal(values)
	}
	raw := n.write(nil)
	t, err := ctyjson.ImpliedType(raw)
	if err != nil {
		return cty.DynamicVal
	}
	v, err := ctyjson.Unmarshal(raw, t)
	if err != nil {
		return cty.DynamicVal
	}
	return v
}

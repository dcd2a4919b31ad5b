package jsonjob

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Depths of containers of a service's connect block, for layout.
const (
	inConnect   = 5
	inProxyTask = 6
	inProxyMap  = 7 // Config and Meta
)

// podDriver is the driver that injection gives to proxies.
const podDriver = "pod"

// mesh reads the connect block of a service of a group.
func (f *File) mesh(service *node) *job.Mesh {
	connect := service.get("Connect")
	kind := proxyKind(connect)
	if kind == "" {
		return nil
	}
	m := &job.Mesh{Kind: kind, Mark: f.meshed[service], Marked: f.meshed[service] != nil, Bare: job.Bare{}, Range: f.at(connect.start)}
	for name, spelt := range bare(connect, "SidecarTask") {
		m.Bare[name] = spelt
	}
	task := connect.get("SidecarTask")
	if task == nil || task.kind != '{' {
		return m
	}
	m.HasTask, m.Driver = true, job.Text{Value: task.get("Driver").str(), Range: f.at(task.start)}
	for name, spelt := range bare(task, "Config", "Meta") {
		m.Bare[name] = spelt
	}
	if task.member("Driver") == nil {
		m.Bare["Driver"] = job.BareAbsent
	}
	if c := task.get("Config"); c != nil {
		for _, it := range c.items {
			m.Config = append(m.Config, strings.Clone(it.name))
		}
		slices.Sort(m.Config)
	}
	return m
}

// proxyKind returns the kind of the task that Nomad adds for a connect block, or "" for none.
func proxyKind(connect *node) string {
	gateway := connect.get("Gateway")
	switch {
	case connect.get("SidecarService") != nil:
		return "connect-proxy"
	case gateway.get("Ingress") != nil:
		return "connect-ingress"
	case gateway.get("Terminating") != nil:
		return "connect-terminating"
	case gateway.get("Mesh") != nil:
		return "connect-mesh"
	}
	return ""
}

// setProxy sets the driver in sidecar_task, and in the task that the job has for it.
func (e *editor) setProxy(edit *job.SetProxy) error {
	g, err := e.group(edit.Group)
	if err != nil {
		return err
	}
	services := g.get("Services").elements()
	i := edit.Service.Mesh.Index
	if i >= len(services) || services[i].get("Connect") == nil {
		return fmt.Errorf("group %q has no service %q with a connect block", edit.Group, edit.Service.Name)
	}
	connect := services[i].get("Connect")
	task := connect.get("SidecarTask")
	if task != nil && task.kind != '{' {
		return fmt.Errorf("SidecarTask of service %q is not an object but %s", edit.Service.Name, task)
	}
	if task == nil {
		n, err := e.made.proxyTask(edit.Block(), e.layout(inProxyTask))
		if err != nil {
			return err
		}
		connect.set("SidecarTask", n.clone(), e.layout(inConnect))
	} else if err := e.fillProxyTask(task, edit); err != nil {
		return err
	}
	if edit.Task == "" {
		return nil
	}
	t := named(g.get("Tasks"), edit.Task)
	if t == nil {
		return fmt.Errorf("group %q has no task %q", edit.Group, edit.Task)
	}
	return e.markProxy(t, edit, e.layout(inTask), e.layout(inTaskField))
}

// fillProxyTask adds to a sidecar_task that the job has.
func (e *editor) fillProxyTask(task *node, edit *job.SetProxy) error {
	for _, s := range edit.Config {
		n, err := e.made.setting(&job.SetConfig{Name: s.Name, Value: s.Value}, e.layout(inProxyMap).deeper())
		if err != nil {
			return err
		}
		config, err := task.container("Config", '{', e.layout(inProxyTask))
		if err != nil {
			return err
		}
		config.put(s.Name, n, e.layout(inProxyMap))
	}
	return e.markProxy(task, edit, e.layout(inProxyTask), e.layout(inProxyMap))
}

// markProxy sets the driver and the mark.
func (e *editor) markProxy(task *node, edit *job.SetProxy, in, inMap layout) error {
	driver, err := made(edit.Driver, in.deeper())
	if err != nil {
		return err
	}
	mark, err := made(edit.Mark.Text(), inMap.deeper())
	if err != nil {
		return err
	}
	task.set("Driver", driver, in)
	meta, err := task.container("Meta", '{', in)
	if err == nil {
		meta.put(job.MarkProxy, mark, inMap)
	}
	return err
}

// proxyTask returns a new sidecar_task.
func (fr fragments) proxyTask(b *sidecar.Block, l layout) (*node, error) {
	service := &sidecar.Block{Type: "service", Body: sidecar.Body{
		&sidecar.Block{Type: "connect", Body: sidecar.Body{&sidecar.Block{Type: "sidecar_service"}, b}},
	}}
	n, err := fr.make("", hclOf([]*sidecar.Block{service}), l, func(g *api.TaskGroup) any { return g.Services[0].Connect.SidecarTask })
	if err != nil {
		return nil, fmt.Errorf("sidecar_task: %w", err)
	}
	return n, nil
}

// ejectProxies restores the connect blocks of a group that have true marks. The driver of the tasks
// that Nomad added for them is the one that it would choose.
func (f *File) ejectProxies(g *node) {
	kinds := map[string]bool{}
	for _, s := range g.get("Services").elements() {
		connect := s.get("Connect")
		mark := proxyMark(connect.get("SidecarTask"))
		if mark == nil {
			continue
		}
		f.meshed[s] = mark
		kind := proxyKind(connect)
		kinds[kind+":"+s.get("Name").str()] = true
		f.restoreProxyTask(connect, mark, kind != "connect-proxy")
	}
	if len(kinds) == 0 {
		return
	}
	for _, t := range g.get("Tasks").elements() {
		if mark := proxyMark(t); mark != nil && kinds[t.get("Kind").str()] {
			f.proxies[t] = true
			t.set("Driver", text(job.ProxyDriver), layout{})
			t.dropKey("Meta", job.Bare{"Meta": mark.Bare["Proxy.Meta"]}, f.layout(inTaskField), job.MarkProxy)
		}
	}
}

// proxyMark returns the mark of a task or sidecar_task, nil if it has none or another driver, which
// its author then chose.
func proxyMark(task *node) *job.MeshMark {
	if task == nil || task.kind != '{' || task.get("Driver").str() != podDriver {
		return nil
	}
	return job.ReadMeshMark(task.get("Meta").key(job.MarkProxy).str())
}

// restoreProxyTask undoes setProxy. Settings that were changed since stay.
func (f *File) restoreProxyTask(connect *node, mark *job.MeshMark, gateway bool) {
	task := connect.get("SidecarTask")
	for _, s := range job.ProxyConfig(gateway, true) { // whatever the mark names
		have := task.get("Config").key(s.Name)
		raw, err := ctyjson.Marshal(s.Value, s.Value.Type())
		if have != nil && err == nil && slices.Contains(mark.Config, s.Name) && job.SealedJSON(have.write(nil)) == job.SealedJSON(raw) {
			task.dropKey("Config", mark.Bare, f.layout(inProxyMap), s.Name)
		}
	}
	task.dropKey("Meta", mark.Bare, f.layout(inProxyMap), job.MarkProxy)
	if mark.Bare["Driver"] == job.BareAbsent {
		task.remove(slices.Index(task.items, task.member("Driver")), layout{})
	} else {
		task.set("Driver", text(""), layout{})
	}
	if mark.Task && onlyInjected(task, "", job.ProxyTaskFields()) {
		connect.respell("SidecarTask", mark.Bare["SidecarTask"])
	}
}

// onlyInjected reports whether an object has no other values than empty ones and the given numbers.
func onlyInjected(n *node, path string, numbers map[string]int) bool {
	for _, it := range n.items {
		v, at := it.value, path+it.name
		known, ours := numbers[at]
		switch {
		case v.isNull() || isZero(v) || ours && v.number() == known:
		case v.kind != '{' || !onlyInjected(v, at+".", numbers):
			return false
		}
	}
	return true
}

// text returns a node of a string without special characters.
func text(s string) *node { return &node{text: `"` + s + `"`, start: -1} }

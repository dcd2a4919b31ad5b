package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

// translate translates the pod template.
func (j *podJob) translate() {
	if len(j.spec.Containers) == 0 {
		j.im.wrong(j.of, j.at("containers"), "a pod needs a container.")
		return
	}
	if j.spec.OS != nil && j.spec.OS.Name != corev1.Linux {
		j.im.wrong(j.of, j.at("os.name"), "the pod driver runs on Linux only.")
		return
	}
	j.list()
	j.collectPorts()
	j.register()
	for _, c := range j.containers {
		c.translate()
	}
	j.group()
}

// list lists the containers, init containers first, and checks their order.
func (j *podJob) list() {
	names := map[string]bool{}
	add := func(c *corev1.Container, path string, init bool) {
		if names[c.Name] || !objectName.MatchString(c.Name) || c.Name == "alloc" {
			j.im.wrong(j.of, path+".name", "a container needs a name of lower case letters, digits and dashes that no other one has; Nomad reserves \"alloc\".")
		}
		names[c.Name] = true
		always := init && or(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
		if c.RestartPolicy != nil && !always {
			j.find(path+".restartPolicy", NoEquivalent, "a task restarts as its `restart` block says, whatever its exit code")
		}
		j.containers = append(j.containers, &container{j: j, Container: c, path: path, init: init, sidecar: always})
	}
	for i := range j.spec.InitContainers {
		add(&j.spec.InitContainers[i], j.at(fmt.Sprintf("initContainers[%d]", i)), true)
	}
	for i := range j.spec.Containers {
		add(&j.spec.Containers[i], j.at(fmt.Sprintf("containers[%d]", i)), false)
	}
	plain := 0
	for _, c := range j.containers {
		if c.init && plain > 0 {
			j.find(c.path, Decision, "it starts together with the init containers before it, since Nomad runs the tasks of a hook at the same time; join them into one task, or let this one wait, for example for a file in /alloc")
		}
		if c.init && !c.sidecar {
			plain++
		}
	}
}

// sidecarsBefore returns the native sidecars that precede an init container.
func (j *podJob) sidecarsBefore(c *container) []string {
	var out []string
	for _, other := range j.containers {
		if other == c {
			break
		}
		if other.sidecar && c.init {
			out = append(out, other.Name)
		}
	}
	return out
}

// group writes the blocks of the group that depend on its tasks.
func (j *podJob) group() {
	j.constraints()
	if j.diskMB > 0 {
		b := &block{kind: "ephemeral_disk"}
		b.number("size", j.diskMB)
		j.header = append(j.header, b)
	}
	if len(j.update) > 0 && j.kind == service && slices.ContainsFunc(j.services, func(r *registered) bool { return r.checks > 0 }) {
		j.update[0].text("health_check", "checks")
	}
	if j.canary {
		for _, p := range j.ports {
			if p.static > 0 {
				j.find(p.path, Decision, "a client has port %d once, so that an update, which starts new allocations before it stops old ones, needs more clients than allocations; or remove `canary` and `auto_promote`", p.static)
			}
		}
	}
}

func (j *podJob) constraints() {
	add := func(attribute, value string) {
		b := &block{kind: "constraint"}
		b.attr("attribute", `"${`+attribute+`}"`)
		b.text("value", value)
		j.header = append(j.header, b)
	}
	if j.spec.NodeName != "" {
		add("node.unique.name", j.spec.NodeName)
	}
	for _, key := range slices.Sorted(maps.Keys(j.spec.NodeSelector)) {
		v := j.spec.NodeSelector[key]
		switch key {
		case "kubernetes.io/hostname":
			add("node.unique.name", v)
		case "kubernetes.io/arch", "beta.kubernetes.io/arch":
			add("attr.cpu.arch", v)
		case "kubernetes.io/os", "beta.kubernetes.io/os":
			add("attr.kernel.name", v)
		default:
			name := clean(key)
			add("meta."+name, v)
			j.find(j.at("nodeSelector."+key), Decision, "set meta { %s = %s } in the configuration of these clients", name, quote(v))
		}
	}
}

// clean replaces all characters but letters, digits and underscores.
func clean(s string) string {
	out := strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
	if out == "" || out[0] >= '0' && out[0] <= '9' {
		out = "_" + out
	}
	return out
}

// network returns the group's network block.
func (j *podJob) network() *block {
	b := &block{kind: "network"}
	mode := "bridge"
	if j.spec.HostNetwork {
		mode = "host"
	}
	b.text("mode", mode)
	for _, p := range j.ports {
		c := b.child("port", p.label)
		if p.static > 0 {
			c.number("static", int64(p.static))
		}
		if !j.spec.HostNetwork {
			c.number("to", int64(p.to))
		}
	}
	if d := j.spec.DNSConfig; d != nil {
		c := b.child("dns")
		c.texts("servers", d.Nameservers)
		c.texts("searches", d.Searches)
		var options []string
		for _, o := range d.Options {
			text := o.Name
			if o.Value != nil {
				text += ":" + *o.Value
			}
			options = append(options, text)
		}
		c.texts("options", options)
	}
	return b
}

// print returns the job.
func (j *podJob) print() Job {
	b := &block{kind: "job", labels: []string{j.name}}
	b.comment(fmt.Sprintf("Imported from %s, document %d: %s.", j.of.file.Name, j.of.number, j.of))
	jobNotes, groupNotes := j.notes()
	b.items = append(b.items, jobNotes...)
	if j.of.ns() != "default" {
		b.text("namespace", j.of.namespace)
	}
	b.text("type", j.kind)
	metaOf(b, j.labels, nil)
	for _, p := range j.periodic {
		b.add(p)
	}
	g := b.child("group", j.name)
	g.items = append(g.items, groupNotes...)
	if j.kind != system {
		g.number("count", int64(j.count))
	}
	metaOf(g, j.meta.Labels, j.labels)
	g.add(j.network())
	for _, part := range [][]*block{j.update, j.restart, j.header} {
		for _, c := range part {
			g.add(c)
		}
	}
	for _, name := range j.volumeOrder {
		g.add(j.volumes[name])
	}
	for _, r := range j.services {
		g.add(r.block)
	}
	for _, c := range j.containers {
		g.add(c.block)
	}
	text := b.print()
	if j.im.output += len(text); j.im.output > maxOutput {
		j.im.wrong(j.of, j.at("containers"), "all jobs together would have more than %d MiB. Import the files in parts.", maxOutput>>20)
	}
	return Job{Name: j.name, Namespace: j.of.namespace, Text: text, Secrets: j.vars.known(), VariablePath: j.vars.path(j)}
}

// metaOf adds labels that the parent does not have.
func metaOf(b *block, labels, parent map[string]string) {
	var out []pair
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if v, ok := parent[key]; !ok || v != labels[key] {
			out = append(out, pair{key, quote(labels[key])})
		}
	}
	b.pairs("meta", out)
}

// notes returns comments for the findings of the job and of the group. It adds the comments of
// containers to their tasks.
func (j *podJob) notes() (ofJob, ofGroup []item) {
	perTask := map[*container][]item{}
	for _, f := range j.im.findings {
		if f.of != j.of && f.job != j {
			continue
		}
		word := "not translated"
		if f.Fate == Decision {
			word = "to decide"
		}
		place := f.Path
		if f.of != j.of {
			place = strings.TrimSpace(f.Document + " " + f.Path)
		}
		note := item{comment: display.Line(fmt.Sprintf("%s: %s: %s", word, place, f.Text))}
		i := slices.IndexFunc(j.containers, func(c *container) bool {
			return f.of == j.of && (f.Path == c.path || strings.HasPrefix(f.Path, c.path+"."))
		})
		switch {
		case i >= 0:
			perTask[j.containers[i]] = append(perTask[j.containers[i]], note)
		case f.of == j.of && (strings.HasPrefix(f.Path, j.at(""))):
			ofGroup = append(ofGroup, note)
		default:
			ofJob = append(ofJob, note)
		}
	}
	for _, c := range j.containers {
		c.block.items = append(perTask[c], c.block.items...)
	}
	return ofJob, append(ofGroup, j.vars.note(j)...)
}

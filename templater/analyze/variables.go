package analyze

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// text is a string of a job.
type text struct {
	value string
	at    hcl.Range
}

// texts returns all strings of a block. complete is false if there may be others.
func texts(n *job.Node) (out []text, complete bool) {
	complete = len(n.More) == 0
	for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
		s := n.Attrs[name]
		complete = complete && s.Unknown == nil
		out = append(out, stringsIn(s.Value, s.Range)...)
	}
	for _, b := range n.Blocks {
		more, all := texts(b)
		out, complete = append(out, more...), complete && all
	}
	return out, complete
}

func stringsIn(v cty.Value, at hcl.Range) (out []text) {
	switch {
	case !v.IsKnown() || v.IsNull():
	case v.Type() == cty.String:
		out = append(out, text{v.AsString(), at})
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next(); {
			key, e := it.Element()
			if key.Type() == cty.String {
				out = append(out, stringsIn(key, at)...)
			}
			out = append(out, stringsIn(e, at)...)
		}
	}
	return out
}

// maxName bounds the names that are compared. Longer ones are hostile or a mistake, and cause no finding.
const maxName = 200

// mentioned is the set of port labels that the texts of a group may refer to; all is true if they
// cannot be listed.
type mentioned struct {
	labels map[string]bool
	all    bool
}

// computedName is the beginning of the name of such a variable, to which a program or template adds the label.
var computedName = regexp.MustCompile(`NOMAD_[A-Z_]*_?(?:PORT|ADDR|HOSTPORT)_(?:[^A-Za-z0-9_]|$)`)

var portName = regexp.MustCompile(`NOMAD_[A-Z_]*_?(?:PORT|ADDR|HOSTPORT)_([A-Za-z0-9_]+)`)

// mentions lists the labels in variables of ports, and all texts of connect blocks.
func (c *checker) mentions() mentioned {
	out := mentioned{labels: map[string]bool{}}
	all, complete := texts(c.group.Node)
	out.all = !complete || c.group.More || c.group.Partial
	for _, t := range all {
		if !strings.Contains(t.value, "NOMAD_") {
			continue
		}
		out.all = out.all || computedName.MatchString(t.value)
		for _, m := range portName.FindAllStringSubmatch(underscored(t.value), -1) {
			out.add(m[1])
		}
	}
	for _, t := range c.group.Tasks {
		out.all = out.all || slices.ContainsFunc(t.Files, func(f file) bool { return f.Block == "template" && f.Source })
	}
	services, _ := c.group.Node.All("service")
	for _, s := range services {
		if connect := s.First("connect"); connect != nil {
			inside, _ := texts(connect)
			for _, t := range inside {
				out.labels[underscored(t.value)] = true
			}
		}
	}
	for _, s := range c.group.Services {
		for _, k := range s.Checks {
			if k.Expose.V || k.Expose.Unknown() { // the proxy listens there
				out.labels[underscored(k.Port.V)] = true
			}
		}
	}
	return out
}

// add adds a name, which may be a label after the name of a task.
func (m *mentioned) add(name string) {
	if len(name) > maxName {
		m.all = true
		return
	}
	for rest, more := name, true; more; _, rest, more = strings.Cut(rest, "_") {
		m.labels[rest] = true
	}
}

func (m mentioned) has(label string) bool { return m.all || m.labels[underscored(label)] }

// underscored replaces dashes, which Nomad does in the names of some variables only.
func underscored(text string) string { return strings.ReplaceAll(text, "-", "_") }

// portVariable is a reference to a variable of a port, in a text or in a template.
const portVariable = `(NOMAD_(?:HOST_|ALLOC_)?(?:PORT|IP|ADDR|HOSTPORT)_([A-Za-z0-9_-]+))`

// variables finds references to variables of ports that the group does not declare.
func (c *checker) variables() {
	labels, known := c.group.labels()
	if !known {
		return
	}
	names := c.names(labels)
	reference := regexp.MustCompile(`\$\{` + portVariable + `\}|\benv "` + portVariable + `"`)
	for _, t := range c.group.Tasks {
		all, _ := texts(t.Node)
		told := map[string]bool{}
		for _, text := range all {
			for _, m := range reference.FindAllStringSubmatch(text.value, -1) {
				variable, label := m[1]+m[3], m[2]+m[4]
				if told[label] || names.declare(label) || t.sets(variable) {
					continue
				}
				told[label] = true
				c.report("NS1017", t, text.at, t.Name, c.group.Name, variable, label, suggest(label, labels))
			}
		}
	}
}

// sets reports whether the env of a task has, or may have, a variable.
func (t *task) sets(variable string) bool {
	env := t.Node.First("env")
	if env == nil {
		return t.Node.More["env"] != nil
	}
	_, ok := env.Attrs[variable]
	return ok || len(env.More) > 0
}

// names are the names in a group that variables of ports may contain.
type names struct {
	labels, tasks map[string]bool
	any           bool // port_map may declare others
}

func (c *checker) names(labels map[string]*port) names {
	n := names{labels: map[string]bool{}, tasks: map[string]bool{}, any: c.portMap.any || len(c.portMap.labels) > 0}
	for label := range labels {
		n.labels[underscored(label)] = true
	}
	for _, t := range c.group.Tasks {
		n.tasks[underscored(t.Name)] = true
	}
	return n
}

// declare reports whether a label, or a label after the name of a task, is declared, or may be a
// port that Nomad adds for Connect or for a check with expose.
func (n names) declare(label string) bool {
	label = underscored(label)
	if n.any || n.labels[label] || len(label) > maxName || strings.HasPrefix(label, "connect_") || strings.HasPrefix(label, "svc_") {
		return true
	}
	for i, r := range label {
		if r == '_' && n.tasks[label[:i]] && n.labels[label[i+1:]] {
			return true
		}
	}
	return false
}

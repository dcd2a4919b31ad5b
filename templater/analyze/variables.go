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

// mentions reports whether a text of the group may contain a variable of a port, or its label in a
// connect block.
func (c *checker) mentions(label string) bool {
	all, complete := texts(c.group.Node)
	if !complete || c.group.More || c.group.Partial {
		return true
	}
	name := regexp.MustCompile(`_(?:PORT|ADDR|HOSTPORT)_(?:[A-Za-z0-9_-]+_)?` + regexp.QuoteMeta(underscored(label)) + `\b`)
	for _, t := range all {
		if strings.Contains(t.value, "NOMAD_") && name.MatchString(underscored(t.value)) {
			return true
		}
	}
	services, _ := c.group.Node.All("service")
	for _, s := range services {
		if connect := s.First("connect"); connect != nil {
			inside, _ := texts(connect)
			if slices.ContainsFunc(inside, func(t text) bool { return t.value == label }) {
				return true
			}
		}
	}
	return false
}

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
	reference := regexp.MustCompile(`\$\{` + portVariable + `\}|\benv "` + portVariable + `"`)
	for _, t := range c.group.Tasks {
		all, _ := texts(t.Node)
		told := map[string]bool{}
		for _, text := range all {
			for _, m := range reference.FindAllStringSubmatch(text.value, -1) {
				variable, label := m[1]+m[3], m[2]+m[4]
				if told[label] || c.declares(labels, label) {
					continue
				}
				told[label] = true
				c.report("NS1017", t, text.at, t.Name, c.group.Name, variable, label, suggest(label, labels))
			}
		}
	}
}

// declares reports whether a label, or a label after the name of a task, is declared, or may be a
// port that Nomad adds for Connect or for a check with expose.
func (c *checker) declares(labels map[string]*port, label string) bool {
	label = underscored(label)
	if strings.HasPrefix(label, "connect_") || strings.HasPrefix(label, "svc_") {
		return true
	}
	if slices.ContainsFunc(c.group.Tasks, func(t *task) bool { return t.Config.may("port_map") }) {
		return true
	}
	for known := range labels {
		known = underscored(known)
		if label == known {
			return true
		}
		for _, t := range c.group.Tasks {
			if label == underscored(t.Name)+"_"+known {
				return true
			}
		}
	}
	return false
}

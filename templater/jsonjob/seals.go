package jsonjob

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// checkSeals finds marks that name a change that differs from what injection wrote, and records
// it in all marks of that sidecar.
func (f *File) checkSeals(g *node, found []injected) {
	for _, i := range found {
		if i.Mark.Added == nil {
			continue
		}
		s := &seals{File: f, group: g, added: i.Mark.Added}
		if s.check(); s.broken == "" {
			continue
		}
		for _, o := range found {
			if o.Mark.Name == i.Mark.Name {
				o.Mark.Altered = s.broken
			}
		}
	}
}

// seals compares the changes that a mark names with the job. Removed changes are ignored.
type seals struct {
	*File
	group  *node
	added  *job.Added
	broken string // the first that differs
}

func (s *seals) compare(key, what string, parts ...string) {
	if s.broken == "" && s.added.Seals[key] != job.Seal(parts...) {
		s.broken = what + " is not what this sidecar wrote"
	}
}

func (s *seals) check() {
	a := s.added
	for _, net := range s.group.get("Networks").elements() {
		for _, p := range net.get("DynamicPorts").elements() {
			if label := p.get("Label").str(); slices.Contains(a.Ports, label) {
				s.compare(job.SealKey("", "port", label), fmt.Sprintf("port %q", label), strconv.Itoa(p.get("To").number()))
			}
		}
	}
	for _, name := range a.Volumes {
		if v := s.group.get("Volumes").key(name); v != nil {
			s.compare(job.SealKey("", "volume", name), fmt.Sprintf("volume %q", name), v.get("Type").str(), v.get("Source").str())
		}
	}
	for i, name := range a.Services {
		// Of several matches the last one is removed.
		list := slices.DeleteFunc(slices.Clone(s.group.get("Services").elements()), func(n *node) bool { return !s.serviceOf(s.group, name, a.Ports)(n) })
		if len(list) > 0 {
			s.compare(job.ServiceKey(i), fmt.Sprintf("service %q", name), list[len(list)-1].get("PortLabel").str())
		}
	}
	for _, task := range slices.Sorted(maps.Keys(a.Env)) {
		s.env(task, a.Env[task])
	}
	s.appended()
	for _, task := range slices.Sorted(maps.Keys(a.Config)) {
		s.config(task, a.Config[task])
	}
	for _, task := range slices.Sorted(maps.Keys(a.Blocks)) {
		s.blocks(task, a.Blocks[task])
	}
}

func (s *seals) env(task string, names []string) {
	env := named(s.group.get("Tasks"), task).get("Env")
	for _, name := range names {
		if v := env.key(name); v != nil {
			s.compare(job.SealKey(task, "env", name), fmt.Sprintf("variable %s of task %q", name, task), v.str())
		}
	}
}

func (s *seals) config(task string, settings map[string]json.RawMessage) {
	config := named(s.group.get("Tasks"), task).get("Config")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		v := config.key(name)
		if v == nil {
			continue
		}
		text := v.write(nil)
		if items := settings[name]; len(items) > 0 && string(items) != "null" {
			text = items // of which only the present ones are removed
		}
		s.compare(job.SealKey(task, "config", name), fmt.Sprintf("config %s of task %q", name, task), job.SealedJSON(text))
	}
}

func (s *seals) blocks(task string, blocks []job.AddedBlock) {
	t := named(s.group.get("Tasks"), task)
	for _, b := range blocks {
		for _, n := range slices.Backward(t.get(job.FieldOf(b.Type)).elements()) {
			if destination(n) != b.Destination {
				continue
			}
			parts := []string{n.get("Volume").str()}
			if b.Type == "template" {
				parts = []string{n.get("EmbeddedTmpl").str(), n.get("SourcePath").str()}
			}
			s.compare(job.SealKey(task, b.Type, b.Destination), fmt.Sprintf("the %s at %q of task %q", b.Type, b.Destination, task), parts...)
			break // the last one is removed
		}
	}
}

package templater

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Keys of the meta of injected tasks. They stand in no other place, because meta
// of a group or a job restarts the app when it changes.
const (
	MarkName    = "sidecar.name"
	MarkVersion = "sidecar.version"
	MarkDigest  = "sidecar.digest"
	MarkOrigin  = "sidecar.origin"
	// MarkAdded holds, in the first task of a sidecar, what was changed outside
	// of its own tasks, as the JSON of Added.
	MarkAdded = "sidecar.added"
)

// Mark is what the meta of a task says about its injection. Anyone can write
// meta, so a mark is only a claim: see Mark.Doubt.
type Mark struct {
	Name, Version, Digest, Origin string
	Added                         *Added
}

// Added is all that an injection changed outside the sidecar's own tasks: what
// taking it out again needs.
type Added struct {
	Tasks    []string                      `json:"tasks,omitempty"`
	Ports    []string                      `json:"ports,omitempty"`
	Services []string                      `json:"services,omitempty"` // names
	Volumes  []string                      `json:"volumes,omitempty"`
	Env      map[string][]string           `json:"env,omitempty"`    // task → names
	Config   map[string]map[string]*string `json:"config,omitempty"` // task → name → JSON of the value before, null for none
	Blocks   map[string][]string           `json:"blocks,omitempty"` // task → block types, in order
	Bare     map[string]Bare               `json:"bare,omitempty"`   // task, "" for the group → how containers were spelt
}

func (a *Added) env(task, name string) {
	if a.Env == nil {
		a.Env = map[string][]string{}
	}
	a.Env[task] = append(a.Env[task], name)
}

func (a *Added) config(task, name string, before *string) {
	if a.Config == nil {
		a.Config = map[string]map[string]*string{}
	}
	if a.Config[task] == nil {
		a.Config[task] = map[string]*string{}
	}
	a.Config[task][name] = before
}

func (a *Added) bare(task, field, spelt string) {
	if a.Bare == nil {
		a.Bare = map[string]Bare{}
	}
	if a.Bare[task] == nil {
		a.Bare[task] = Bare{}
	}
	a.Bare[task][field] = spelt
}

func (a *Added) block(task, typ string) {
	if a.Blocks == nil {
		a.Blocks = map[string][]string{}
	}
	a.Blocks[task] = append(a.Blocks[task], typ)
}

// pairs is the meta of an injected task. Added is nil but for the first task.
func (m *Mark) pairs() map[string]string {
	out := map[string]string{MarkName: m.Name, MarkVersion: m.Version, MarkDigest: m.Digest, MarkOrigin: m.Origin}
	if m.Added != nil {
		// A struct of strings, numbers and maps of them always marshals, and
		// maps are written in the order of their keys.
		text, _ := json.Marshal(m.Added)
		out[MarkAdded] = string(text)
	}
	return out
}

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ReadMark returns the mark in a task's meta, or nil if it holds none.
func ReadMark(meta map[string]string) *Mark {
	name, ok := meta[MarkName]
	if !ok {
		return nil
	}
	m := &Mark{Name: name, Version: meta[MarkVersion], Digest: meta[MarkDigest], Origin: meta[MarkOrigin]}
	if text := meta[MarkAdded]; text != "" {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		added := &Added{}
		if dec.Decode(added) == nil {
			m.Added = added
		}
	}
	return m
}

// Doubt says why a mark on a task cannot be true, judged by the catalog; "" if
// nothing speaks against it. A mark from another version of the definition is
// stale, not doubtful.
func (m *Mark) Doubt(catalog Catalog, task string) string {
	if !digestForm.MatchString(m.Digest) {
		return "its " + MarkDigest + " is no digest"
	}
	versions := catalog.Versions(m.Name)
	if len(versions) == 0 {
		return "the catalog has no sidecar " + m.Name
	}
	if !slices.ContainsFunc(versions, func(d *sidecar.Definition) bool { return d.Brings(task) }) {
		return "sidecar " + m.Name + " brings no task " + task
	}
	if m.Added != nil && !slices.ContainsFunc(versions, func(d *sidecar.Definition) bool { return m.Added.within(d) }) {
		return "its " + MarkAdded + " names things that sidecar " + m.Name + " does not add"
	}
	return ""
}

// within says whether a definition could have made these changes.
func (a *Added) within(d *sidecar.Definition) bool {
	r := d.Reach()
	ok := subset(a.Tasks, d.TaskNames()) && subset(a.Ports, r.Ports) && subset(a.Volumes, r.Volumes) && len(a.Services) <= r.Services
	for _, names := range a.Env {
		ok = ok && subset(names, r.Env)
	}
	for _, settings := range a.Config {
		ok = ok && subset(sortedKeys(settings), r.Config)
	}
	for _, types := range a.Blocks {
		ok = ok && subset(types, r.Blocks)
	}
	return ok
}

func subset(part, whole []string) bool {
	for _, p := range part {
		if !slices.Contains(whole, p) {
			return false
		}
	}
	return true
}

// Marked is a task that carries a mark.
type Marked struct {
	Group, Task string
	Mark        *Mark
}

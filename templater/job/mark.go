package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
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
	// Altered says which of the things that Added names is not as an injection wrote
	// it; "" for none. Whoever reads the job finds it out: see Seal.
	Altered string
}

// Added is all that an injection changed outside the sidecar's own tasks: what
// taking it out again needs.
type Added struct {
	Tasks    []string            `json:"tasks,omitempty"`
	Ports    []string            `json:"ports,omitempty"`
	Services []string            `json:"services,omitempty"` // names
	Volumes  []string            `json:"volumes,omitempty"`
	Env      map[string][]string `json:"env,omitempty"` // task → names
	// Config is task → name → JSON of the items that a list got, or null for a
	// setting that is new as a whole.
	Config map[string]map[string]json.RawMessage `json:"config,omitempty"`
	Blocks map[string][]AddedBlock               `json:"blocks,omitempty"` // task → in order
	// Bare is task, "" for the group → how containers were spelt. A list of the
	// config called name is "Config.name".
	Bare map[string]Bare `json:"bare,omitempty"`
	// Seals are those of all of it, by SealKey. What has none was not injected.
	Seals map[string]string `json:"seals,omitempty"`
}

// AddPort records a port of the group.
func (a *Added) AddPort(label string, to int) {
	a.Ports = append(a.Ports, label)
	a.seal(SealKey("", "port", label), strconv.Itoa(to))
}

// AddVolume records a volume of the group.
func (a *Added) AddVolume(v *sidecar.Block) {
	a.Volumes = append(a.Volumes, v.Label())
	a.seal(SealKey("", "volume", v.Label()), word(v, "type"), word(v, "source"))
}

// AddService records a service of the group.
func (a *Added) AddService(s *sidecar.Block) {
	a.seal(ServiceKey(len(a.Services)), word(s, "port"))
	a.Services = append(a.Services, s.Body.String("name"))
}

// AddedBlock is a template or volume_mount that an app task got. Destinations tell
// those of one task apart.
type AddedBlock struct {
	Type        string `json:"type"`
	Destination string `json:"destination,omitempty"`
}

// SetEnv records a variable of an app task.
func (a *Added) SetEnv(task, name, value string) {
	a.seal(SealKey(task, "env", name), value)
	if a.Env == nil {
		a.Env = map[string][]string{}
	}
	a.Env[task] = append(a.Env[task], name)
}

// SetConfig records a setting of an app task's config. Items are those added to a list,
// nil for a new setting.
func (a *Added) SetConfig(task, name string, value cty.Value, items json.RawMessage) {
	sealed := sealedValue(value)
	if items != nil {
		sealed = SealedJSON(items)
	}
	a.seal(SealKey(task, "config", name), sealed)
	if a.Config == nil {
		a.Config = map[string]map[string]json.RawMessage{}
	}
	if a.Config[task] == nil {
		a.Config[task] = map[string]json.RawMessage{}
	}
	a.Config[task][name] = items
}

// SetBare records how an empty container was spelt.
func (a *Added) SetBare(task, field, spelt string) {
	if a.Bare == nil {
		a.Bare = map[string]Bare{}
	}
	if a.Bare[task] == nil {
		a.Bare[task] = Bare{}
	}
	a.Bare[task][field] = spelt
}

// AddBlock records a template or volume_mount of an app task.
func (a *Added) AddBlock(task string, b *sidecar.Block) {
	if a.Blocks == nil {
		a.Blocks = map[string][]AddedBlock{}
	}
	at := b.Body.String("destination")
	a.Blocks[task] = append(a.Blocks[task], AddedBlock{b.Type, at})
	if b.Type == "template" {
		a.seal(SealKey(task, b.Type, at), word(b, "data"), word(b, "source"))
	} else {
		a.seal(SealKey(task, b.Type, at), word(b, "volume"))
	}
}

// Meta is the meta of an injected task. Added is nil but for the first task.
func (m *Mark) Meta() map[string]string {
	out := map[string]string{MarkName: m.Name, MarkVersion: m.Version, MarkDigest: m.Digest, MarkOrigin: m.Origin}
	if m.Added != nil {
		// A struct of strings, numbers and maps of them always marshals, and
		// maps are written in the order of their keys.
		text, _ := json.Marshal(m.Added)
		out[MarkAdded] = ascii(text)
	}
	return out
}

// ascii escapes all other characters in JSON: names would not come back as they were
// from an HCL string, which is brought into a normal form of Unicode.
func ascii(text []byte) string {
	var out strings.Builder
	for _, r := range string(text) {
		switch {
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
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
	return m.Altered
}

// within says whether a definition could have made these changes.
func (a *Added) within(d *sidecar.Definition) bool {
	r := d.Reach()
	ok := subset(a.Tasks, d.TaskNames()) && subset(a.Ports, r.Ports) && subset(a.Volumes, r.Volumes) && len(a.Services) <= r.Services
	for _, names := range a.Env {
		ok = ok && subset(names, r.Env)
	}
	for _, settings := range a.Config {
		// Any of them may be the last of its group, which repeats logs blocks.
		ok = ok && subset(slices.Sorted(maps.Keys(settings)), append([]string{LogsSetting}, r.Config...))
	}
	for _, blocks := range a.Blocks {
		for _, b := range blocks {
			ok = ok && slices.Contains(r.Blocks, b.Type)
		}
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
	Range       hcl.Range // of the task; zero where there is no source
}

// Same says whether two are the same task of the same sidecar.
func (m Marked) Same(o Marked) bool {
	return m.Group == o.Group && m.Task == o.Task && m.Mark.Name == o.Mark.Name
}

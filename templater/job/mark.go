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
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Keys of the meta of injected tasks. They are not set in the meta of a group or job, since
// changing it restarts the app.
const (
	MarkName    = "sidecar.name"
	MarkVersion = "sidecar.version"
	MarkDigest  = "sidecar.digest"
	MarkOrigin  = "sidecar.origin"
	// MarkAdded holds, in the first task of a sidecar, the changes outside of the sidecar's own
	// tasks, as the JSON of Added.
	MarkAdded = "sidecar.added"
)

// IsMarkKey reports whether a key of a task's meta belongs to a mark.
func IsMarkKey(key string) bool {
	return slices.Contains([]string{MarkName, MarkVersion, MarkDigest, MarkOrigin, MarkAdded}, key)
}

// Mark is the record of an injection in a task's meta. Anyone can write meta, so a mark is only
// a claim: see Mark.Doubt.
type Mark struct {
	Name, Version, Digest, Origin string
	Added                         *Added
	// Altered names a part of Added that differs from what injection wrote, or is "". The reader
	// of the job sets it: see Seal.
	Altered string
}

// Added lists all changes of an injection outside of the sidecar's own tasks, which eject
// undoes.
type Added struct {
	Tasks    []string            `json:"tasks,omitempty"`
	Ports    []string            `json:"ports,omitempty"`
	Services []string            `json:"services,omitempty"` // names
	Volumes  []string            `json:"volumes,omitempty"`
	Env      map[string][]string `json:"env,omitempty"` // task → names
	// Appended is task → name → text added to a variable.
	Appended map[string]map[string]Appended `json:"appended,omitempty"`
	// Config is task → name → JSON of the items added to a list, or null for a setting that is
	// wholly new.
	Config map[string]map[string]json.RawMessage `json:"config,omitempty"`
	Blocks map[string][]AddedBlock               `json:"blocks,omitempty"` // task → in order
	// Bare is task, "" for the group → spelling of containers. A list of the config called name
	// is "Config.name".
	Bare map[string]Bare `json:"bare,omitempty"`
	// Seals are the seals of all changes, by SealKey. A change without a seal was not injected.
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

// AddedBlock is a template or volume_mount added to an app task. Destinations are unique within
// a task.
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

// Append records a text that is added to a variable of an app task.
func (a *Added) Append(task, name string, more Appended) {
	a.seal(SealKey(task, "append", name), more.sealed()...)
	if a.Appended == nil {
		a.Appended = map[string]map[string]Appended{}
	}
	if a.Appended[task] == nil {
		a.Appended[task] = map[string]Appended{}
	}
	a.Appended[task][name] = more
}

// SetConfig records a setting of an app task's config. Items are those added to a list, nil for
// a new setting.
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

// SetBare records the spelling of an empty container.
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

// Meta returns the meta of an injected task. Added is nil except for the first task.
func (m *Mark) Meta() map[string]string {
	out := map[string]string{MarkName: m.Name, MarkVersion: m.Version, MarkDigest: m.Digest, MarkOrigin: m.Origin}
	if m.Added != nil {
		// A struct of strings, numbers and maps of them always marshals, with sorted map keys.
		text, _ := json.Marshal(m.Added)
		out[MarkAdded] = ascii(text)
	}
	return out
}

// MarkSpelling returns a text as it stands between quotes in the JSON of a mark.
func MarkSpelling(text string) string {
	out, _ := json.Marshal(text) // a string always marshals
	return ascii(out[1 : len(out)-1])
}

// ascii escapes all non-ASCII characters in JSON: HCL strings are normalized to a Unicode normal
// form, which could change names.
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

// ReadMark returns the mark in a task's meta, or nil if there is none.
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

// Doubt returns the reason why the mark of a task cannot be true according to the catalog, or
// "". A mark from another version of the definition is stale, not doubtful.
func (m *Mark) Doubt(catalog Catalog, task string) string {
	if !digestForm.MatchString(m.Digest) {
		return "its " + MarkDigest + " is not a digest"
	}
	versions := catalog.Versions(m.Name)
	if len(versions) == 0 {
		return "the catalog has no sidecar " + m.Name
	}
	if !slices.ContainsFunc(versions, func(d *sidecar.Definition) bool { return d.Brings(task) }) {
		return "sidecar " + m.Name + " has no task " + task
	}
	if m.Added != nil && !slices.ContainsFunc(versions, func(d *sidecar.Definition) bool { return m.Added.within(d) }) {
		return "its " + MarkAdded + " names changes that sidecar " + m.Name + " does not make"
	}
	return m.Altered
}

// within reports whether a definition could have made these changes.
func (a *Added) within(d *sidecar.Definition) bool {
	r := d.Reach()
	ok := subset(a.Tasks, d.TaskNames()) && subset(a.Ports, r.Ports) && subset(a.Volumes, r.Volumes) && len(a.Services) <= r.Services
	for _, names := range a.Env {
		ok = ok && subset(names, r.Env)
	}
	for _, names := range a.Appended {
		ok = ok && subset(slices.Sorted(maps.Keys(names)), r.Appended)
	}
	for _, settings := range a.Config {
		// Any sidecar may be the last of its group, which repeats logs blocks.
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
	Range       hcl.Range // of the task; zero without a source
}

// Same reports whether both are the same task of the same sidecar.
func (m Marked) Same(o Marked) bool {
	return m.Group == o.Group && m.Task == o.Task && m.Mark.Name == o.Mark.Name
}

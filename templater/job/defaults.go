package job

import (
	"bytes"
	"encoding/json"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// DefaultField is a field of a job that a rule of a policy may set where the job's author left it
// out. A block is one value: nothing is merged into a block that the author wrote, since numbers
// from two sources may contradict each other.
type DefaultField struct {
	Name  string // in job files
	API   string // in Nomad's API
	InJob string // in the API of the job that groups inherit from, or ""
	Block bool
	Task  bool // in each app task, otherwise in the group
	// Keyed means that it holds any number of values, each with a default of its own: the keys of a map,
	// or the constraints of a list.
	Keyed bool
	// Private means that its values may be secrets, so explanations omit them.
	Private bool
	// Inherited means that tasks get it from their group, or groups from their job.
	Inherited bool
	// Canonical means that Nomad sets it in every job that it has parsed or stored.
	Canonical bool
	// Refill means that Nomad refuses a job that it has stored before without the block: it completes
	// the block from an older form, which it keeps in the job.
	Refill bool
	// Types are the job types that may have it; nil for all.
	Types []string
	// Attributes are the ones that a policy may set in the block; nil for all of Nomad's.
	Attributes []string
}

// Nomad copies the restart block of a group into its tasks when it stores a job, where a
// default could be neither changed nor taken back later: so tasks get it. The shutdown_delay of a
// task is 0 in JSON whether its author wrote 0 or nothing; a group's is null then. Nomad fills
// in no constraint, meta, env or vault, so that there a stored job shows what its author left out.
var defaultFields = []DefaultField{
	{Name: "shutdown_delay", API: "ShutdownDelay"},
	{Name: "reschedule", API: "ReschedulePolicy", InJob: "Reschedule", Block: true, Inherited: true, Canonical: true, Types: []string{"service", "batch"}},
	{Name: "update", API: "Update", InJob: "Update", Block: true, Inherited: true, Canonical: true, Refill: true, Types: []string{"service", "system"}},
	{Name: "constraint", API: "Constraints", Block: true, Keyed: true, Attributes: []string{"attribute", "operator", "value"}},
	{Name: "meta", API: "Meta", Block: true, Keyed: true},
	{Name: "kill_timeout", API: "KillTimeout", Task: true, Canonical: true},
	{Name: "resources", API: "Resources", Block: true, Task: true, Canonical: true, Attributes: []string{"cpu", "cores", "memory", "memory_max"}},
	{Name: "restart", API: "RestartPolicy", Block: true, Task: true, Inherited: true, Canonical: true},
	{Name: "logs", API: "LogConfig", Block: true, Task: true, Canonical: true, Attributes: []string{"max_files", "max_file_size", "disabled"}},
	{Name: "env", API: "Env", Block: true, Task: true, Keyed: true, Private: true},
	{Name: "vault", API: "Vault", Block: true, Task: true, Inherited: true, Private: true},
}

// DefaultFields yields all fields, group fields first. They are shared and must not be modified.
func DefaultFields() iter.Seq2[int, *DefaultField] {
	return func(yield func(int, *DefaultField) bool) {
		for i := range defaultFields {
			if !yield(i, &defaultFields[i]) {
				return
			}
		}
	}
}

// FindDefaultField returns a field by its name in job files, or nil.
func FindDefaultField(name string) *DefaultField {
	for i := range defaultFields {
		if defaultFields[i].Name == name {
			return &defaultFields[i]
		}
	}
	return nil
}

// Default is a value of a field for where the job's author left it out.
type Default struct {
	Field *DefaultField
	// Key is the key of a map, or Constraint.Key, if the field is keyed.
	Key  string
	Rule string // of the policy
	// Item is a *sidecar.Attr or a *sidecar.Block. Of a map it is the attribute for the key.
	Item sidecar.Item
	// JSON is the value in Nomad's API, as Nomad's parser writes it.
	JSON  json.RawMessage
	Range hcl.Range
}

// MaxRecorded is the largest recorded value of a default in bytes. It is several times the size of
// a block with all attributes; each task that has the default is compared with it.
const MaxRecorded = 1 << 10

// Name returns the name of the field and the key, if any, such as "env HTTP_PROXY".
func (d *Default) Name() string { return d.Field.NameOf(d.Key) }

// NameOf returns the name of a default of the field; key is "" unless it is keyed.
func (f *DefaultField) NameOf(key string) string {
	if !f.Keyed {
		return f.Name
	}
	return f.Name + " " + key
}

// Recorded returns the value as a mark records it. One value of several is recorded by its seal.
func (d *Default) Recorded() json.RawMessage {
	if d.Field.Keyed {
		return RecordedKey(d.JSON)
	}
	return d.Field.withoutUnset(d.JSON)
}

// RecordedKey returns the record of a value in JSON of a keyed field.
func RecordedKey(raw []byte) json.RawMessage {
	out, _ := json.Marshal(Seal(SealedJSON(raw))) // a string always marshals
	return out
}

// Written is a field that the job has.
type Written struct {
	// Default means that an earlier injection set it: the job's author left it out.
	Default bool
	Unknown *diagnostic.Unknown // whether it is written
	Range   hcl.Range
}

// SetDefaults sets defaults in a group and its tasks, and removes all others of an earlier injection.
type SetDefaults struct {
	Group  string
	Values []DefaultValue
	// Mark is the text of the mark, or "" for none.
	Mark string
}

// DefaultValue is a default for a task, or for the group if its field is not in tasks.
type DefaultValue struct {
	Task string
	// Logs is the setting that repeats the default of a logs block in the config of a pod task, or
	// cty.NilVal.
	Logs cty.Value
	*Default
}

func (*SetDefaults) edit() {}

// The mark of a group's defaults is a constraint that every node meets: it compares two different
// texts. Nomad stores it unchanged, and does not restart an allocation for a change of it, as it
// would for one of meta.
const (
	MarkDefaults        = "sidecar.defaults" // its attribute
	MarkDefaultsOperand = "!="
)

// MarkConstraint returns the constraint that marks defaults.
func MarkConstraint(mark string) *sidecar.Block {
	return &sidecar.Block{Type: "constraint", Body: sidecar.Body{
		&sidecar.Attr{Name: "attribute", Value: cty.StringVal(MarkDefaults)},
		&sidecar.Attr{Name: "operator", Value: cty.StringVal(MarkDefaultsOperand)},
		&sidecar.Attr{Name: "value", Value: cty.StringVal(mark)},
	}}
}

// vaultIdentity precedes the name of the cluster in the name of an identity for Vault, which Nomad's
// servers add to a task with a vault block (structs.Vault.IdentityName).
const vaultIdentity = "vault_"

// IsVaultIdentity reports whether an identity of a task is one for Vault.
func IsVaultIdentity(name string) bool { return strings.HasPrefix(name, vaultIdentity) }

// Implied reports whether a constraint is one that Nomad's servers add to a group with a vault block
// (nomad/job_endpoint_hooks.go, job_endpoint_hook_implicit_identities.go).
func Implied(attribute, operator, value string) bool {
	switch attribute {
	case "${attr.vault.version}":
		return operator == "semver" && value == ">= 0.6.1"
	case "${attr.nomad.version}":
		return operator == "semver" && value == ">= 1.7.0-a"
	case "${attr.os.signals}":
		return operator == "set_contains"
	}
	cluster, ok := strings.CutPrefix(attribute, "${attr.vault.")
	return ok && strings.HasSuffix(cluster, ".version}") && operator == "semver" && value == ">= 1.11.0"
}

// Defaults is the record of a group's defaults in its mark.
type Defaults struct {
	// Set has the values by Default.Name.
	Set map[string]*SetDefault `json:"set"`
	// Bare is task, "" for the group → original spelling of a field; see job.Bare.
	Bare map[string]Bare `json:"bare,omitempty"`
}

// SetDefault is a recorded default, in the group or in some of its tasks.
type SetDefault struct {
	// Value is as in Nomad's API, without the parts that Nomad fills in.
	Value json.RawMessage `json:"value"`
	Tasks []string        `json:"tasks,omitempty"`
	// Config are those tasks of which the config repeats default logs.
	Config       []string        `json:"config,omitempty"`
	in, inConfig map[string]bool // Tasks and Config
}

// NewDefaults records the defaults of a group.
func NewDefaults(values []DefaultValue) *Defaults {
	d := &Defaults{Set: map[string]*SetDefault{}}
	for _, v := range values {
		s := d.Set[v.Name()]
		if s == nil {
			s = &SetDefault{Value: v.Recorded()}
			d.Set[v.Name()] = s
		}
		if v.Field.Task {
			s.Tasks = append(s.Tasks, v.Task)
		}
		if v.Logs != cty.NilVal {
			s.Config = append(s.Config, v.Task)
		}
	}
	return d
}

// SetBare records the original spelling of a field of a task, or of the group if task is "".
func (d *Defaults) SetBare(task, field, spelt string) {
	if d.Bare == nil {
		d.Bare = map[string]Bare{}
	}
	if d.Bare[task] == nil {
		d.Bare[task] = Bare{}
	}
	d.Bare[task][field] = spelt
}

// String returns the text of the mark.
func (d *Defaults) String() string {
	text, _ := json.Marshal(d) // strings and valid JSON always marshal
	return ascii(text)
}

// ReadDefaults reads the text of a mark, or returns nil if it is none.
func ReadDefaults(text string) *Defaults {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	d := &Defaults{}
	if dec.Decode(d) != nil || dec.More() {
		return nil
	}
	for name, set := range d.Set {
		name, _, keyed := strings.Cut(name, " ")
		f := FindDefaultField(name)
		if f == nil || f.Keyed != keyed || set == nil || len(set.Value) > MaxRecorded || f.Task != (len(set.Tasks) > 0) {
			return nil
		}
		set.in, set.inConfig = map[string]bool{}, map[string]bool{}
		for _, task := range set.Tasks {
			set.in[task] = true
		}
		for _, task := range set.Config {
			set.inConfig[task] = true
		}
	}
	return d
}

// Of returns the value of a field in the group, or in a task if the field is in tasks, as the mark that
// was read records it. key is "" unless the field is keyed. It returns nil if there is none.
func (d *Defaults) Of(task string, field *DefaultField, key string) json.RawMessage {
	if d == nil {
		return nil
	}
	if set := d.Set[field.NameOf(key)]; set != nil && (!field.Task || set.in[task]) {
		return set.Value
	}
	return nil
}

// InConfig reports whether the config of a task repeats default logs.
func (d *Defaults) InConfig(task string) bool {
	return d != nil && d.Set["logs"] != nil && d.Set["logs"].inConfig[task]
}

// Holds reports whether a value in JSON is the default that the mark records for a key.
func (d *Defaults) Holds(task string, field *DefaultField, key string, raw []byte) bool {
	recorded := d.Of(task, field, key)
	return recorded != nil && bytes.Equal(recorded, RecordedKey(raw))
}

// Spelt returns the original spellings of fields of a task, or of the group if task is "".
func (d *Defaults) Spelt(task string) Bare {
	if d == nil {
		return nil
	}
	return d.Bare[task]
}

// ZeroIsUnset reports whether Nomad's API does not distinguish zero from unset in a field of the block.
func (f *DefaultField) ZeroIsUnset(name string) bool {
	a, ok := f.APIType().FieldByName(name)
	return ok && a.Type.Kind() != reflect.Pointer
}

// withoutUnset returns a value without the fields of a block that are unset.
func (f *DefaultField) withoutUnset(raw json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if !f.Block || json.Unmarshal(raw, &fields) != nil {
		return raw
	}
	for name, v := range fields {
		zero := slices.Contains([]string{`""`, "0", "false"}, string(v))
		if string(v) == "null" || zero && f.ZeroIsUnset(name) {
			delete(fields, name)
		}
	}
	out, _ := json.Marshal(fields) // valid JSON always marshals
	return out
}

// APIType returns the type of the field's block in Nomad's API.
func (f *DefaultField) APIType() reflect.Type {
	of := reflect.TypeFor[api.TaskGroup]()
	if f.Task {
		of = reflect.TypeFor[api.Task]()
	}
	field, _ := of.FieldByName(f.API)
	t := field.Type
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

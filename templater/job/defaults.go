package job

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
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
// task is 0 in JSON whether its author wrote 0 or nothing; the one of a group is null then.
var defaultFields = []DefaultField{
	{Name: "shutdown_delay", API: "ShutdownDelay"},
	{Name: "reschedule", API: "ReschedulePolicy", InJob: "Reschedule", Block: true, Inherited: true, Canonical: true, Types: []string{"service", "batch"}},
	{Name: "update", API: "Update", InJob: "Update", Block: true, Inherited: true, Canonical: true, Refill: true, Types: []string{"service", "system"}},
	{Name: "kill_timeout", API: "KillTimeout", Task: true, Canonical: true},
	{Name: "resources", API: "Resources", Block: true, Task: true, Canonical: true, Attributes: []string{"cpu", "cores", "memory", "memory_max"}},
	{Name: "restart", API: "RestartPolicy", Block: true, Task: true, Inherited: true, Canonical: true},
}

// DefaultFields returns all fields, group fields first.
func DefaultFields() []DefaultField { return slices.Clone(defaultFields) }

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
	Rule  string       // of the policy
	Item  sidecar.Item // *sidecar.Attr or *sidecar.Block
	// JSON is the value in Nomad's API, as Nomad's parser writes it.
	JSON  json.RawMessage
	Range hcl.Range
}

// MaxRecorded is the largest recorded value of a default in bytes. It is several times that of a
// block with all attributes; each task that has the default is compared with it.
const MaxRecorded = 1 << 10

// Recorded returns the value as a mark records it.
func (d *Default) Recorded() json.RawMessage { return withoutNulls(d.JSON) }

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

// Defaults is the record of a group's defaults in its mark.
type Defaults struct {
	// Set has the values by their names in job files.
	Set map[string]*SetDefault `json:"set"`
	// Bare is task, "" for the group → original spelling of a field; see job.Bare.
	Bare map[string]Bare `json:"bare,omitempty"`
}

// SetDefault is a recorded default, in the group or in some of its tasks.
type SetDefault struct {
	// Value is as in Nomad's API, without the parts that Nomad fills in.
	Value json.RawMessage `json:"value"`
	Tasks []string        `json:"tasks,omitempty"`
	in    map[string]bool // Tasks
}

// NewDefaults records the defaults of a group.
func NewDefaults(values []DefaultValue) *Defaults {
	d := &Defaults{Set: map[string]*SetDefault{}}
	for _, v := range values {
		s := d.Set[v.Field.Name]
		if s == nil {
			s = &SetDefault{Value: v.Recorded()}
			d.Set[v.Field.Name] = s
		}
		if v.Field.Task {
			s.Tasks = append(s.Tasks, v.Task)
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
		if f := FindDefaultField(name); f == nil || set == nil || len(set.Value) > MaxRecorded || f.Task != (len(set.Tasks) > 0) {
			return nil
		}
		set.in = map[string]bool{}
		for _, task := range set.Tasks {
			set.in[task] = true
		}
	}
	return d
}

// Of returns the value of a field in the group, or in a task if the field is in tasks, as the mark that
// was read records it. It returns nil if there is none.
func (d *Defaults) Of(task string, field *DefaultField) json.RawMessage {
	if d == nil {
		return nil
	}
	if set := d.Set[field.Name]; set != nil && (!field.Task || set.in[task]) {
		return set.Value
	}
	return nil
}

// Spelt returns the original spellings of fields of a task, or of the group if task is "".
func (d *Defaults) Spelt(task string) Bare {
	if d == nil {
		return nil
	}
	return d.Bare[task]
}

// withoutNulls returns a value without the null fields of an object.
func withoutNulls(raw json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return raw
	}
	for name, v := range fields {
		if bytes.Equal(v, []byte("null")) {
			delete(fields, name)
		}
	}
	out, _ := json.Marshal(fields) // valid JSON always marshals
	return out
}

package job

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Job is the view of a job for injection: without injected parts, with variables, locals and
// functions evaluated. Ranges are zero if there is no source.
type Job struct {
	ID, Name, Namespace, Type, Region, NodePool Text
	// Datacenters may hold patterns, such as "*".
	Datacenters     []Text
	MoreDatacenters *diagnostic.Unknown // there may be others

	// Regions are the regions of a multiregion job.
	Regions []Region

	Meta     map[string]Text
	MoreMeta *diagnostic.Unknown // there may be other keys
	Groups   []*Group
	// Requester is nil if nothing registers the job, as for a command that reads a file.
	Requester *Requester
	// Requests are the sidecar blocks of the job itself.
	Requests []*Request
	// Inherited are blocks that Nomad's parser copies into every task of the job: vault and
	// secret. A JSON job has none, since the parser has already copied them.
	Inherited   []*sidecar.Block
	Constraints []Constraint
	// Written are the fields that its groups inherit, by name; see DefaultFields.
	Written map[string]Written
	// Canonical means that Nomad has filled in every field that the job's author left out.
	Canonical bool
	// Opaque are parts that only evaluation can show, such as a dynamic group. With them, a
	// choice that concerns all groups cannot be applied.
	Opaque []Obstacle
	// TextRefs are the first MaxTextRefs references to outputs of sidecars that Nomad gets as text.
	TextRefs []TextRef
	Range    hcl.Range
}

// MaxTextRefs is the most of Job.TextRefs.
const MaxTextRefs = 10

// TextRef is a reference to an output of a sidecar that has no effect: outside of sidecar blocks and
// of the parameters in the meta of a job or group.
type TextRef struct {
	Name  string // of the field
	Range hcl.Range
}

// Region is a region of a multiregion job. Count applies to groups with a count of 0.
type Region struct {
	Count   int
	Unknown *diagnostic.Unknown // the count, or whether there are more regions
}

// Group is a task group.
type Group struct {
	Name         string
	Count        cty.Value           // number
	UnknownCount *diagnostic.Unknown // nil if Count is known
	Meta         map[string]Text
	MoreMeta     *diagnostic.Unknown // there may be other keys
	Networks     []*Network
	MoreNetworks *diagnostic.Unknown // there may be others
	Tasks        []*Task
	MoreTasks    *diagnostic.Unknown // there may be others
	// Kept are injected tasks that are not changed. They are not app tasks, but their names
	// are in use.
	Kept []*Task
	// Proxies are Consul service mesh proxies and gateways, which Nomad's servers add when a
	// job is registered. They are not app tasks.
	Proxies   []*Task
	Services  []Service
	Volumes   map[string]hcl.Range
	Disk      Disk
	Requests  []*Request
	Inherited []*sidecar.Block
	// Constraints are without those that a policy has set by default.
	Constraints []Constraint
	// Written are the fields of DefaultFields that the group has, by name, except keyed ones.
	Written map[string]Written
	// StrayMark is the position of a mark of defaults that injection did not write, or nil.
	StrayMark *hcl.Range
	// Bare are the group's empty containers that are not null, including containers of its first
	// network.
	Bare Bare
	// Opaque are the reasons why this group cannot be edited in this form.
	Opaque []Obstacle
	Range  hcl.Range
}

// Disk is the ephemeral disk of a group. SizeMB is 300 if unset, as in Nomad.
type Disk struct {
	SizeMB  int
	Unknown *diagnostic.Unknown
	Range   hcl.Range
}

// DefaultDiskMB is the default size of an ephemeral disk (api.DefaultEphemeralDisk).
const DefaultDiskMB = 300

// Network is a network block of a group. Mode is "host" if unset.
type Network struct {
	Mode  Text
	Ports []Port
	Range hcl.Range
}

// Port is a port of a group or task network. To and Static are 0 if unset.
type Port struct {
	Label      string
	To, Static int
	Unknown    *diagnostic.Unknown // the port inside the pod
	Range      hcl.Range
}

// Service is a service of the group or of one of its tasks. Provider is "consul" if unset, as in
// Nomad.
type Service struct {
	Name, Port, Provider Text
	// Connect reports a connect block, for which Nomad may add a task to the group.
	Connect bool
	// Mesh is the connect block of a service of a group, nil if it has none or needs no proxy.
	Mesh  *Mesh
	Range hcl.Range
}

// Task is a task of the user.
type Task struct {
	Name   string
	Kind   Text // such as "connect-proxy:web"
	Driver Text
	Hook   Text // of its lifecycle, "" for a main task
	Env    map[string]Text
	// DefaultEnv are the variables that a policy has set by default, DefaultLogs is the setting of its
	// config that repeats default logs, or nil. They are not in Env and Config.
	DefaultEnv  map[string]Text
	DefaultLogs *Setting
	MoreEnv     *diagnostic.Unknown // there may be other variables
	// Config holds the attributes of the driver config.
	Config     map[string]Setting
	MoreConfig *diagnostic.Unknown // there may be other attributes
	// Logs is its logs block, or nil.
	Logs *Logs
	// Ports are the ports of the task's own resources.network.
	Ports []Port
	// Destinations are the known destinations of its templates and volume mounts.
	Destinations []Destination
	Meta         map[string]Text
	MoreMeta     *diagnostic.Unknown // there may be other keys
	Constraints  []Constraint
	// Written are the fields of DefaultFields that the task has, by name, except keyed ones.
	Written map[string]Written
	Bare    Bare
	// ProxyMark reports that the task is a proxy with a driver from an injection.
	ProxyMark bool
	Range     hcl.Range
}

// Constraint is a constraint of a job, group or task. Operator is as in Nomad's API.
type Constraint struct {
	Attribute, Operator Text
	Unknown             *diagnostic.Unknown // there may be others, or this one may not exist
	Range               hcl.Range
}

// Key returns the attribute and the operator. Two constraints with the same key concern the same
// thing, and are the same if they differ only in the value.
func (c Constraint) Key() string {
	return c.Attribute.Value + " " + Operator(c.Operator.Value)
}

// AttributeOf returns the attribute in a Constraint.Key.
func AttributeOf(key string) string { return key[:max(0, strings.LastIndexByte(key, ' '))] }

// Operator returns the usual spelling of an operator of a constraint (scheduler/feasible).
func Operator(name string) string {
	switch name {
	case "", "==", "is":
		return "="
	case "not":
		return "!="
	}
	return name
}

// Logs is a task's logs block. A number is 0 if unset.
type Logs struct {
	Files, SizeMB int
	Disabled      bool
	Unknown       *diagnostic.Unknown // of some field
	Range         hcl.Range
}

// Destination is the destination of a template or volume_mount.
type Destination struct {
	Block string // its type
	Path  Text
	Range hcl.Range
}

// Bare records the spelling of an object's empty containers, by the name of their field in
// Nomad's API, such as "Services". Containers that are not listed are filled or null, which is
// how Nomad's parser spells most empty ones. Eject needs it.
type Bare map[string]string

// Spellings of an empty container, besides null.
const (
	BareAbsent = "absent"
	BareEmpty  = "empty"
)

// Text is a string and its position.
type Text struct {
	Value   string
	Unknown *diagnostic.Unknown // nil if Value is known
	Range   hcl.Range
}

// String returns the value, or the expression of an unknown one.
func (t Text) String() string {
	if t.Unknown != nil {
		return t.Unknown.Expr
	}
	return t.Value
}

// Setting is a value of a driver config and its position. An unknown one may contain known
// elements.
type Setting struct {
	Value   cty.Value
	Unknown *diagnostic.Unknown // nil if Value is wholly known
	Range   hcl.Range
}

// Obstacle is a part of a job that cannot be edited in the given form.
type Obstacle struct {
	What   string // such as `dynamic "group"`
	WayOut string // one sentence
	// Unknown is set if the part cannot be read either.
	Unknown *diagnostic.Unknown
	// Group holds the properties common to the groups of an unreadable part, or is nil.
	Group *Group
	Range hcl.Range
}

// Error returns an error about a choice that needs the part.
func (o Obstacle) Error(what string) *hcl.Diagnostic {
	d := diagnostic.Error(o.Range, "Cannot inject here", fmt.Sprintf("%s %s. %s", what, o.What, o.WayOut))
	d.Extra = o.Unknown
	if o.Unknown == nil {
		d.Extra = &diagnostic.Unknown{Expr: o.What, WayOut: o.WayOut, Range: o.Range}
	}
	return d
}

// Request is a sidecar block of a job file, or a -with flag.
type Request struct {
	Sidecar    string
	Constraint string // version constraint, "" for any
	Arguments  map[string]sidecar.Argument
	Range      hcl.Range
}

// Group returns the group called name, or nil.
func (j *Job) Group(name string) *Group {
	for _, g := range j.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// Chooses reports whether the group's own blocks or meta may choose sidecars. A nil group chooses
// none.
func (g *Group) Chooses() bool {
	if g == nil {
		return false
	}
	_, byMeta := g.Meta[MetaInject]
	return byMeta || g.MoreMeta != nil || len(g.Requests) > 0
}

// MetaPrefix begins the keys of a job's or group's meta that are for injection.
const MetaPrefix = "sidecar."

// MetaInject is the key of a job's or group's meta that chooses sidecars.
const MetaInject = "sidecar.inject"

// TaskNames returns the names of the app tasks.
func (g *Group) TaskNames() []string {
	names := make([]string, 0, len(g.Tasks))
	for _, t := range g.Tasks {
		names = append(names, t.Name)
	}
	return names
}

package job

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/zclconf/go-cty/cty"
)

// Job is what injection sees of a job: without injected parts, with variables,
// locals and functions evaluated. A range is zero where there is no source.
type Job struct {
	ID, Name, Namespace, Type, Region, NodePool Text
	// Datacenters may hold patterns, such as "*".
	Datacenters     []Text
	MoreDatacenters *diagnostic.Unknown // there may be others

	Meta     map[string]Text
	MoreMeta *diagnostic.Unknown // there may be other keys
	Groups   []*Group
	// Requests are the sidecar blocks that stand in the job itself.
	Requests []*Request
	// Inherited are blocks that Nomad's parser copies into every task of the
	// job: vault and secret. JSON has none, as it is past the parser.
	Inherited []*sidecar.Block
	// Opaque are parts that only evaluation could show, such as a dynamic group.
	// A choice that concerns all groups cannot be carried out with them.
	Opaque []Obstacle
	Range  hcl.Range
}

// Group is a task group.
type Group struct {
	Name         string
	Count        cty.Value           // number
	UnknownCount *diagnostic.Unknown // nil if Count is known
	Meta         map[string]Text
	MoreMeta     *diagnostic.Unknown // there may be other keys
	Networks     []*Network
	Tasks        []*Task
	// Kept are injected tasks that stay as they are: no app tasks, but in the way of
	// what would have their names.
	Kept      []*Task
	Services  []Service
	Volumes   map[string]hcl.Range
	Disk      Disk
	Requests  []*Request
	Inherited []*sidecar.Block
	// Bare are the group's containers that hold nothing and are not null; those of
	// its first network are among them.
	Bare Bare
	// Opaque are the reasons why this group cannot be changed in this form.
	Opaque []Obstacle
	// Dynamic says that dynamic blocks make a part of it, which only evaluation shows.
	Dynamic bool
	Range   hcl.Range
}

// Disk is the ephemeral disk of a group. SizeMB is 300 where none is set, as Nomad
// has it.
type Disk struct {
	SizeMB  int
	Unknown *diagnostic.Unknown
	Range   hcl.Range
}

// DefaultDiskMB is the size of an ephemeral disk that the job says nothing of
// (api.DefaultEphemeralDisk).
const DefaultDiskMB = 300

// Network is a network block of a group. Mode is "host" where none is set.
type Network struct {
	Mode  Text
	Ports []Port
	Range hcl.Range
}

// Port is a port of a group or task network. To and Static are 0 where not set.
type Port struct {
	Label      string
	To, Static int
	Unknown    *diagnostic.Unknown // the port inside the pod
	Range      hcl.Range
}

// Service is a service of the group or of one of its tasks. Provider is "consul"
// where none is set, as Nomad has it.
type Service struct {
	Name, Port, Provider Text
	Range                hcl.Range
}

// Task is a task of the user's.
type Task struct {
	Name    string
	Driver  Text
	Env     map[string]Text
	MoreEnv *diagnostic.Unknown // there may be other variables
	// Config holds the attributes of the driver config.
	Config     map[string]Setting
	MoreConfig *diagnostic.Unknown // there may be other attributes
	// Logs is its logs block, nil where it has none.
	Logs *Logs
	// Ports are those of the task's own resources.network.
	Ports []Port
	// Places are where its templates and volume mounts are, as far as that is known.
	Places   []Place
	Meta     map[string]Text
	MoreMeta *diagnostic.Unknown // there may be other keys
	Bare     Bare
	Range    hcl.Range
}

// Logs is what a task's logs block says. A number is 0 where nothing is said.
type Logs struct {
	Files, SizeMB int
	Disabled      bool
	Unknown       *diagnostic.Unknown // some of it
	Range         hcl.Range
}

// Place is the destination of a template or volume_mount.
type Place struct {
	Block       string // its type
	Destination Text
	Range       hcl.Range
}

// Bare tells how the containers of an object that hold nothing are spelt, by the
// name of their field in Nomad's API, such as "Services". What is not listed holds
// something or is null, which is how Nomad's parser spells most empty containers.
// Taking an injection out again needs it.
type Bare map[string]string

// How a container without content may be spelt, besides null.
const (
	BareAbsent = "absent"
	BareEmpty  = "empty"
)

// Text is a string and where it stands.
type Text struct {
	Value   string
	Unknown *diagnostic.Unknown // nil if Value is known
	Range   hcl.Range
}

// String is the value, or the expression that is not known.
func (t Text) String() string {
	if t.Unknown != nil {
		return t.Unknown.Expr
	}
	return t.Value
}

// Setting is a value of a driver config and where it stands. An unknown one may hold
// elements that are known.
type Setting struct {
	Value   cty.Value
	Unknown *diagnostic.Unknown // nil if Value is known as a whole
	Range   hcl.Range
}

// Obstacle is a part of a job that cannot be edited in the form it is given in.
type Obstacle struct {
	What   string // such as `dynamic "group"`
	WayOut string // one sentence
	Range  hcl.Range
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

// TaskNames are the names of the app tasks.
func (g *Group) TaskNames() []string {
	names := make([]string, 0, len(g.Tasks))
	for _, t := range g.Tasks {
		names = append(names, t.Name)
	}
	return names
}

package job

import (
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Edit is one change of a job, addressed by names: *AddTask, *AddPort,
// *AddService, *AddVolume, *SetEnv, *SetConfig, *AddAppBlock, *SetProxy or *SetDefaults.
type Edit interface{ edit() }

// AddTask appends a task to a group.
type AddTask struct {
	Group string
	Task  *sidecar.Block
	// JobInherited and GroupInherited are the blocks that Nomad's HCL parser copies into the
	// task. A backend that works after that parser must add them itself.
	JobInherited, GroupInherited []*sidecar.Block
}

// AddPort appends a dynamic port to the group's network. To is 0 if unset.
type AddPort struct {
	Group, Label string
	To           int
}

// AddService appends a service to a group.
type AddService struct {
	Group   string
	Service *sidecar.Block
}

// AddVolume adds a volume to a group.
type AddVolume struct {
	Group  string
	Volume *sidecar.Block
}

// SetEnv adds a new variable to a task's environment. If the task has it already, Appended is what
// Value has more than its present value.
type SetEnv struct {
	Group, Task, Name, Value string
	Appended                 *Appended
}

// SetConfig sets an attribute of a task's driver config, replacing one of the same name. For a
// list that is only extended, Items holds the new items.
type SetConfig struct {
	Group, Task, Name string
	Value             cty.Value
	Items             []cty.Value
	// Block reports that the driver's documentation writes the attribute as a block. In Nomad's
	// API that is the same as an object.
	Block bool
}

// LogsSetting is the block of a pod task's config that repeats its logs block: the driver
// collects output itself, and Nomad does not pass the logs block to a driver.
const LogsSetting = "logs"

// AddAppBlock appends a volume_mount or template to a user's task.
type AddAppBlock struct {
	Group, Task string
	Block       *sidecar.Block
}

// FieldOf returns the field of a task in Nomad's API that holds an app block.
func FieldOf(blockType string) string {
	if blockType == "template" {
		return "Templates"
	}
	return "VolumeMounts"
}

func (*AddTask) edit()     {}
func (*AddPort) edit()     {}
func (*AddService) edit()  {}
func (*AddVolume) edit()   {}
func (*SetEnv) edit()      {}
func (*SetConfig) edit()   {}
func (*AddAppBlock) edit() {}

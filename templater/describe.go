package templater

import (
	"encoding/json"
	"fmt"

	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// EditText is an edit for programs to read. Fields that an operation does not use are empty.
type EditText struct {
	// Op is add_task, add_port, add_service, add_volume, set_env, set_config,
	// add_template, add_volume_mount, set_proxy or set_defaults.
	Op    string `json:"op"`
	Group string `json:"group"`
	// Task is the changed or added task.
	Task string `json:"task,omitempty"`
	// Name is the name of the port, service, volume, variable or setting; of a proxy's service.
	Name string `json:"name,omitempty"`
	// Value is the variable's or setting's value, the port inside the pod, or the defaults as their
	// mark records them.
	Value json.RawMessage `json:"value,omitempty"`
	// HCL is the added block.
	HCL string `json:"hcl,omitempty"`
}

// Describe converts an edit to its description.
func Describe(e job.Edit) (*EditText, error) {
	block := func(b *sidecar.Block) string { return b.HCL(sidecar.Style{Heredoc: true, Runtime: true}) }
	switch e := e.(type) {
	case *job.AddTask:
		return &EditText{Op: "add_task", Group: e.Group, Task: e.Task.Label(), HCL: block(e.Task)}, nil
	case *job.AddService:
		return &EditText{Op: "add_service", Group: e.Group, Name: e.Service.Body.String("name"), HCL: block(e.Service)}, nil
	case *job.AddVolume:
		return &EditText{Op: "add_volume", Group: e.Group, Name: e.Volume.Label(), HCL: block(e.Volume)}, nil
	case *job.AddAppBlock:
		return &EditText{Op: "add_" + e.Block.Type, Group: e.Group, Task: e.Task, HCL: block(e.Block)}, nil
	case *job.AddPort:
		out := &EditText{Op: "add_port", Group: e.Group, Name: e.Label}
		if e.To > 0 {
			out.Value = fmt.Appendf(nil, "%d", e.To)
		}
		return out, nil
	case *job.SetDefaults:
		return &EditText{Op: "set_defaults", Group: e.Group, Value: json.RawMessage(e.Mark)}, nil
	case *job.SetEnv:
		value, err := json.Marshal(e.Value)
		return &EditText{Op: "set_env", Group: e.Group, Task: e.Task, Name: e.Name, Value: value}, err
	case *job.SetConfig:
		value, err := ctyjson.Marshal(e.Value, e.Value.Type())
		if err != nil {
			return nil, fmt.Errorf("config %s of task %q: %w", e.Name, e.Task, err)
		}
		return &EditText{Op: "set_config", Group: e.Group, Task: e.Task, Name: e.Name, Value: value}, nil
	case *job.SetProxy:
		return &EditText{Op: "set_proxy", Group: e.Group, Task: e.Task, Name: e.Service.Name.String(), HCL: block(e.Block())}, nil
	}
	return nil, fmt.Errorf("unknown edit %T", e)
}
